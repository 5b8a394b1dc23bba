"""Fine-tunes CLIP as StreetCLIP was, on synthetic captions of city, region and country.

Haas, Alberti, Skreta, "Learning Generalized Zero-Shot Learners for Open-Domain Image
Geolocalization" (arXiv 2302.00275). Its loss is the mean of CLIP's halves, and a photograph has one
caption; ours has the half over captions, at three levels of equal weight, unless `both_ways` and
the templates say otherwise (docs/reproduction.md). We chose: the wording below the country; both
towers and the temperature, capped at 100 as in CLIP, are trained; a constant learning rate; the
weight decay of torch's AdamW; no augmentation besides the model's own resizing and centre crop.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2loc.core.errors import ConfigError, SourceError, UnreadablePhoto
from img2loc.core.types import Rejected
from img2loc.data.captions import check_template
from img2loc.encoders.transformers import TransformersClip
from img2loc.training import checkpoint
from img2loc.training.place_names import PlacedPhoto
from img2loc.training.settings import check_settings

if TYPE_CHECKING:
    import torch

LEVELS = ("city", "region", "country")
_LARGEST_LOGIT_SCALE = 4.6052  # ln 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetClipTraining:
    """The keys of [train.streetclip]. Raises ConfigError; SourceError for an unknown placeholder.

    `model` is fine-tuned: a folder in transformers' format or a hub id in the cache. An optimizer
    step has `accumulate` batches of `batch_size` photos. An empty template omits its level. With
    `both_ways`, captions choose their photos too, not only photos their captions. `dtype` is
    "float32", or "bfloat16" for autocast (weights stay in single precision).
    """

    model: str = "openai/clip-vit-large-patch14-336"
    epochs: int = 3
    lr: float = 1e-6
    batch_size: int = 32
    accumulate: int = 12
    weight_decay: float = 0.01
    city: str = (
        "A Street View photo close to the town of {city} in the region of {region} in {country}."
    )
    region: str = "A Street View photo in the region of {region} in {country}."
    country: str = "A Street View photo in {country}."
    both_ways: bool = False
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "batch_size": (self.batch_size >= 2, "2 or more: another's caption is the negative"),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "dtype": (self.dtype in ("float32", "bfloat16"), '"float32" or "bfloat16"'),
        }
        check_settings("streetclip", self, rules)
        for template in filter(None, self.templates):
            check_template(template)
        if not any(self.templates):
            raise ConfigError("[train.streetclip] has no template for city, region or country.")

    @property
    def templates(self) -> tuple[str, str, str]:
        """The templates of city, region and country."""
        return self.city, self.region, self.country

    def captions(self, photo: PlacedPhoto) -> tuple[str, ...]:
        """Its captions at the three levels; "" without a template, or a name that it needs."""
        names = {level: getattr(photo, level) for level in LEVELS}
        return tuple(
            template.format(**names)
            if all(names[level] for level in LEVELS if f"{{{level}}}" in template)
            else ""
            for template in self.templates
        )


def train(
    source_rows: Sequence[PlacedPhoto | Rejected],
    settings: StreetClipTraining,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Train into `folder`, or resume there; returns each epoch's record.

    The folder gets `history.jsonl`, a checkpoint after every epoch and, at the end, the model,
    image processor and tokenizer in transformers' format: [encoder.streetclip] model = "FOLDER"
    names it. A training that was killed ends at the same weights. Unreadable photos are skipped and
    counted. `progress` is called with how many photos are done, over all epochs; more `epochs`
    continue from there. Raises ConfigError for a folder that holds another training or model or is
    in use, and where the loss is not finite (the last checkpoint stays); SourceError without two
    photos whose captions differ, MissingWeights without a model to start from.
    """
    rows = [
        row for row in source_rows if isinstance(row, PlacedPhoto) and any(settings.captions(row))
    ]
    if not rows:
        raise SourceError(
            "There is not one photograph with a place. Each row needs a photo and coordinates."
        )
    levels = zip(*map(settings.captions, rows), strict=True)
    if all(len(set(filter(None, captions))) < 2 for captions in levels):
        raise SourceError(
            f"The {len(rows)} photographs with a place have the same captions, so that there is"
            " nothing to learn. Training needs two or more, of different places."
        )
    elsewhere = ("device", "model", "epochs")
    plan = {key: value for key, value in asdict(settings).items() if key not in elsewhere}
    with checkpoint.claimed(folder, settings.model):
        training = _Training(settings, rows, len(source_rows) - len(rows), progress)
        plan |= {"photos": training.fingerprint, "base": training.base}
        state = checkpoint.resume(folder, plan)
        return checkpoint.run_epochs(folder, plan, state, training, settings.epochs)


class _Training:
    """The model in training, its optimizer and its photographs."""

    remedy = "Lower [train.streetclip] lr."

    def __init__(
        self,
        settings: StreetClipTraining,
        rows: Sequence[PlacedPhoto],
        skipped: int,
        progress: Callable[[int], None],
    ) -> None:
        import torch

        self._settings, self._rows = settings, rows
        self._skipped, self._progress = skipped, progress
        self._captions = [settings.captions(row) for row in rows]
        self.fingerprint = _fingerprint(rows, self._captions)
        # Loaded by the encoder itself, so that training and retrieval use the same model.
        self._clip = TransformersClip(settings.model, settings.device, "float32")
        self.base = self._clip.name
        self._network: Any = self._clip.network.train().requires_grad_(True)
        if not hasattr(self._network, "logit_scale"):
            raise ConfigError(f"{settings.model!r} has no temperature to train. Name a CLIP model.")
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )

    def learning_rate(self, epoch: int) -> float:
        return self._settings.lr

    def state(self) -> dict[str, Any]:
        return {"model": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def save(self, folder: Path, finished: bool) -> None:
        if finished:
            self._clip.save(folder)

    def epoch(self, epoch: int) -> dict[str, Any] | None:
        """The record has the loss and, per level, the share whose caption was the nearest."""
        import torch

        torch.manual_seed(self._settings.seed * 1_000_003 + epoch)  # For models with dropout.
        order = list(range(len(self._rows)))
        random.Random(f"{self._settings.seed}/{epoch}").shuffle(order)
        size, accumulate = self._settings.batch_size, self._settings.accumulate
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        done, tally = epoch * len(order), _Tally()
        with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
            decoding = pool.map(self._pixels, batches[0])
            for count, batch in enumerate(batches, 1):
                decoded = list(decoding)
                # Decoded while the model learns from this one.
                decoding = pool.map(self._pixels, batches[count] if count < len(batches) else ())
                parts = min(accumulate, len(batches) - (count - 1) // accumulate * accumulate)
                if not math.isfinite(self._backward(batch, decoded, parts, tally)):
                    return None
                if count % accumulate == 0 or count == len(batches):
                    self._step()
                done += len(batch)
                self._progress(done)
        record = tally.record()
        if not self._is_finite():  # After the epoch's last step, which no loss has seen.
            return None
        return {"epoch": epoch + 1, **record, "skipped": self._skipped}

    def _is_finite(self) -> bool:
        """Whether all weights, and both towers for one input, are free of NaN and infinity."""
        import torch

        side = self._clip.size
        with torch.no_grad():
            image = self._clip.features(torch.zeros(1, 3, side, side, device=self._clip.device))
            text = self._clip.text_features([next(filter(None, self._captions[0]))])
            tensors = (image, text, *self._network.parameters())
            return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)

    def _step(self) -> None:
        import torch

        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            self._network.logit_scale.clamp_(max=_LARGEST_LOGIT_SCALE)

    def _pixels(self, row: int) -> torch.Tensor | None:
        try:
            return self._clip.prepare(self._rows[row].photo.image())
        except UnreadablePhoto:
            return None

    def _backward(
        self,
        batch: Sequence[int],
        decoded: Sequence[torch.Tensor | None],
        parts: int,
        tally: _Tally,
    ) -> float:
        """Add a batch's gradient: at each level, photos against its distinct captions. The loss."""
        import torch
        from torch.nn.functional import normalize

        from img2loc.training.caption_loss import caption_loss

        pairs = zip(batch, decoded, strict=True)
        readable = [(row, pixels) for row, pixels in pairs if pixels is not None]
        tally.unreadable += len(batch) - len(readable)
        if not readable:
            return 0.0
        device = self._clip.device
        pixels = torch.stack([pixels for _, pixels in readable]).to(device)
        half = self._settings.dtype == "bfloat16"
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=half):
            images = normalize(self._clip.features(pixels).float(), dim=-1)
            losses = []
            for level, name in enumerate(LEVELS):
                captions = [self._captions[row][level] for row, _ in readable]
                distinct = list(dict.fromkeys(filter(None, captions)))
                captioned = [at for at, caption in enumerate(captions) if caption]
                if not distinct:
                    continue
                texts = normalize(self._clip.text_features(distinct).float(), dim=-1)
                logits = self._network.logit_scale.exp() * images[captioned] @ texts.T
                targets = torch.tensor([distinct.index(captions[at]) for at in captioned]).to(
                    device
                )
                losses.append(caption_loss(logits, targets, self._settings.both_ways))
                correct = int((logits.argmax(dim=1) == targets).sum())
                tally.add(name, correct, len(captioned))
        loss = torch.stack(losses).mean()
        tally.losses.append(float(loss.detach()))
        (loss / parts).backward()  # type: ignore[no-untyped-call]
        return tally.losses[-1]


class _Tally:
    """The losses and the correct photographs of an epoch."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.unreadable = 0
        self._correct: dict[str, tuple[int, int]] = {}

    def add(self, level: str, correct: int, count: int) -> None:
        before = self._correct.get(level, (0, 0))
        self._correct[level] = before[0] + correct, before[1] + count

    def record(self) -> dict[str, Any]:
        """The mean loss, the accuracies and the number of unreadable photographs."""
        if not self.losses:
            raise SourceError(f"None of {self.unreadable} photographs can be read. Check paths.")
        accuracy = {
            f"{level}_accuracy": round(correct / count, 4)
            for level, (correct, count) in self._correct.items()
        }
        loss = round(sum(self.losses) / len(self.losses), 6)
        return {"loss": loss, **accuracy, "unreadable": self.unreadable}


def _fingerprint(rows: Sequence[PlacedPhoto], captions: Sequence[Sequence[str]]) -> str:
    """Changes with the photographs' names, their order and their captions."""
    named = [[row.photo.path.name, *texts] for row, texts in zip(rows, captions, strict=True)]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()[:16]
