"""StreetCLIP's loss: photographs against the captions of their batch, one way or both."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy, one_hot


def caption_loss(logits: torch.Tensor, targets: torch.Tensor, both_ways: bool) -> torch.Tensor:
    """Cross-entropy of n photographs over m distinct captions: logits (n, m), targets (n,).

    With `both_ways`, the mean of it and of the captions' over the photographs, as in CLIP (Radford
    et al., 2021), where a caption's photographs share its target equally.
    """
    over_captions = cross_entropy(logits, targets)
    if not both_ways:
        return over_captions
    own = one_hot(targets, logits.shape[1]).T.to(logits.dtype)
    over_photographs = cross_entropy(logits.T, own / own.sum(dim=1, keepdim=True))
    return (over_captions + over_photographs) / 2
