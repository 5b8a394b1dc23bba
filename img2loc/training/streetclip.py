"""Trains CLIP as StreetCLIP was: photographs against synthetic captions of their city, region and country.

Haas, Alberti, Skreta, "Learning Generalized Zero-Shot Learners for Open-Domain Image
Geolocalization" (arXiv 2302.00275). The paper's values are the defaults. What we could not find
there, and chose: the loss is the cross-entropy of a photograph over the distinct captions of its
batch, and the three levels count alike; the words of the captions below the country; both towers
and the temperature are trained, the latter capped at 100 as CLIP's was; a constant learning rate;
the weight decay of torch's AdamW; no augmentation, but for the model's own resizing and central
crop.
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
from img2loc.training.settings import diverged, hold

if TYPE_CHECKING:
    import torch

LEVELS = ("city", "region", "country")
_LARGEST_LOGIT_SCALE = 4.6052  # ln 100


@dataclass(frozen=True, slots=True, kw_only=True)
class StreetClipTraining:
    """How to train; the keys of [train.streetclip]. Raises ConfigError, or SourceError for a template that names no place.

    `model` is what is fine-tuned: a folder in transformers' format or a hub id in the cache. An
    optimizer step is made of `accumulate` batches of `batch_size` photos. A template that is empty
    leaves its level out. `dtype` is "float32", or "bfloat16" to compute in it where that is safe
    (weights stay in single precision).
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
    seed: int = 0
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "batch_size": (
                self.batch_size >= 2,
                "2 or more: a photograph needs another's caption to be told from",
            ),
            "accumulate": (self.accumulate >= 1, "1 or more"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "dtype": (self.dtype in ("float32", "bfloat16"), '"float32" or "bfloat16"'),
        }
        hold("streetclip", self, rules)
        for template in filter(None, self.templates):
            check_template(template)
        if not any(self.templates):
            raise ConfigError(
                "[train.streetclip] has no template. Give city, region or country one."
            )

    @property
    def templates(self) -> tuple[str, str, str]:
        """The templates of city, region and country."""
        return self.city, self.region, self.country

    def captions(self, photo: PlacedPhoto) -> tuple[str, ...]:
        """Its captions at the three levels; "" where the level is left out, or the place has no name that the template wants."""
        names = {level: getattr(photo, level) for level in LEVELS}
        found = []
        for template in self.templates:
            wanted = [level for level in LEVELS if f"{{{level}}}" in template]
            found.append(
                template.format(**names)
                if template and all(names[level] for level in wanted)
                else ""
            )
        return tuple(found)


def train(
    source_rows: Sequence[PlacedPhoto | Rejected],
    settings: StreetClipTraining,
    folder: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> list[dict[str, Any]]:
    """Train into `folder`, or go on where an earlier call was cut off; give the history, one entry an epoch.

    The folder gets `history.jsonl`, a checkpoint after every epoch and, at the end, the model,
    image processor and tokenizer in transformers' format: [encoder.streetclip] model = "FOLDER"
    names it. An epoch draws its order from seed and number alone, so that a training that was
    killed ends at the same weights. Unreadable photos are passed over and counted. `progress` is
    called with how many photos are done, over all epochs; more `epochs` go on from there. Raises
    ConfigError for a folder that holds another training or model or is in use, and where the loss
    is not finite, in which case the last checkpoint stays; SourceError without two photos whose
    captions differ, MissingWeights without a model to start from.
    """
    rows = [
        row for row in source_rows if isinstance(row, PlacedPhoto) and any(settings.captions(row))
    ]
    if not rows:
        raise SourceError(
            "There is not one photograph with a place to train on. The CSV needs a photo and"
            " coordinates in each row."
        )
    if all(
        len(set(filter(None, level))) < 2
        for level in zip(*map(settings.captions, rows), strict=True)
    ):
        raise SourceError(
            f"The {len(rows)} photographs with a place have the same captions, so that there is"
            " nothing to learn. Training needs two or more, of different places."
        )
    with checkpoint.claimed(folder, settings.model):
        run = _Run(settings, rows)
        plan = {**_plan(settings), "photos": run.fingerprint, "base": run.base}
        state = checkpoint.resume(folder, plan)
        history: list[dict[str, Any]] = []
        if state is not None:
            run.restore(state)
            history = list(state["history"])
            checkpoint.refuse_fewer(folder, len(history), settings.epochs)
        for epoch in range(len(history), settings.epochs):
            history.append(run.epoch(epoch, progress) | {"skipped": len(source_rows) - len(rows)})
            checkpoint.save(folder, plan, {**run.state(), "history": history})
            checkpoint.write_history(folder, history)
        checkpoint.write_history(folder, history)
        run.save(folder)
    return history


def _plan(settings: StreetClipTraining) -> dict[str, Any]:
    """What decides the weights; where it is computed does not, up to rounding."""
    return {
        key: value
        for key, value in asdict(settings).items()
        if key not in ("device", "model", "epochs")
    }


class _Run:
    """The model in training, its optimizer and its photographs."""

    def __init__(self, settings: StreetClipTraining, rows: Sequence[PlacedPhoto]) -> None:
        import torch

        self._settings = settings
        self._rows = rows
        self._captions = [settings.captions(row) for row in rows]
        self.fingerprint = _fingerprint(rows, self._captions)
        # The encoder's own way of loading, so that what is trained is what will be asked.
        self._clip = TransformersClip(
            settings.model, settings.device, "float32", settings.batch_size
        )
        self.base = self._clip.name
        self._network: Any = self._clip.network.train().requires_grad_(True)
        if not hasattr(self._network, "logit_scale"):
            raise ConfigError(f"{settings.model!r} has no temperature to train. Name a CLIP model.")
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )

    def state(self) -> dict[str, Any]:
        return {"model": self._network.state_dict(), "optimizer": self._optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])

    def save(self, folder: Path) -> None:
        self._clip.save(folder)

    def epoch(self, number: int, progress: Callable[[int], None]) -> dict[str, Any]:
        """One pass over the photographs: loss and, per level, the share whose caption was the nearest in its batch."""
        import torch

        torch.manual_seed(self._settings.seed * 1_000_003 + number)  # For models that have dropout.
        order = list(range(len(self._rows)))
        random.Random(f"{self._settings.seed}/{number}").shuffle(order)
        size, accumulate = self._settings.batch_size, self._settings.accumulate
        batches = [order[start : start + size] for start in range(0, len(order), size)]
        done, tally = number * len(order), _Tally()
        with ThreadPoolExecutor(thread_name_prefix="decode") as pool:
            decoding = pool.map(self._pixels, batches[0])
            for count, batch in enumerate(batches, 1):
                decoded = list(decoding)
                decoding = pool.map(
                    self._pixels, batches[count] if count < len(batches) else ()
                )  # While this one is learned.
                parts = min(accumulate, len(batches) - (count - 1) // accumulate * accumulate)
                if not math.isfinite(self._backward(batch, decoded, parts, tally)):
                    raise self._diverged(number)
                if count % accumulate == 0 or count == len(batches):
                    self._step()
                done += len(batch)
                progress(done)
        told = tally.told()
        if not self._gives_numbers():
            raise self._diverged(number)  # By the epoch's last step, which no loss has seen.
        return {"epoch": number + 1, **told}

    def _diverged(self, number: int) -> ConfigError:
        return diverged(number, self._settings.lr, "Lower [train.streetclip] lr.")

    def _gives_numbers(self) -> bool:
        """Whether weights and both towers are still finite, the towers for one input."""
        import torch

        side = self._clip.size
        with torch.no_grad():
            image = self._clip.features(torch.zeros(1, 3, side, side, device=self._clip.device))
            text = self._clip.text_features([next(filter(None, self._captions[0]))])
            return all(
                bool(torch.isfinite(tensor).all())
                for tensor in (image, text, *self._network.parameters())
            )

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
        """Add one batch's gradient: each photo against the distinct captions of its batch, level by level; its loss."""
        import torch
        from torch.nn.functional import cross_entropy, normalize

        readable = [
            (row, pixels) for row, pixels in zip(batch, decoded, strict=True) if pixels is not None
        ]
        tally.unreadable += len(batch) - len(readable)
        if not readable:
            return 0.0
        device = self._clip.device
        with torch.autocast(
            device.partition(":")[0], torch.bfloat16, enabled=self._settings.dtype == "bfloat16"
        ):
            images = normalize(
                self._clip.features(
                    torch.stack([pixels for _, pixels in readable]).to(device)
                ).float(),
                dim=-1,
            )
            losses = []
            for level, name in enumerate(LEVELS):
                captions = [self._captions[row][level] for row, _ in readable]
                distinct = list(dict.fromkeys(filter(None, captions)))
                own = [number for number, caption in enumerate(captions) if caption]
                if not distinct:
                    continue
                texts = normalize(self._clip.text_features(distinct).float(), dim=-1)
                logits = self._network.logit_scale.exp() * images[own] @ texts.T
                targets = torch.tensor(
                    [distinct.index(captions[number]) for number in own], device=device
                )
                losses.append(cross_entropy(logits, targets))
                tally.add(name, int((logits.argmax(dim=1) == targets).sum()), len(own))
        loss = torch.stack(losses).mean()
        tally.losses.append(float(loss.detach()))
        (loss / parts).backward()  # type: ignore[no-untyped-call]
        return tally.losses[-1]


class _Tally:
    """What an epoch comes to."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.unreadable = 0
        self._right: dict[str, tuple[int, int]] = {}

    def add(self, level: str, right: int, of: int) -> None:
        before = self._right.get(level, (0, 0))
        self._right[level] = before[0] + right, before[1] + of

    def told(self) -> dict[str, Any]:
        if not self.losses:
            raise SourceError(
                f"Not one of the {self.unreadable} photographs can be read. Check where they lie."
            )
        accuracy = {
            f"{level}_accuracy": round(right / of, 4) for level, (right, of) in self._right.items()
        }
        return {
            "loss": round(sum(self.losses) / len(self.losses), 6),
            **accuracy,
            "unreadable": self.unreadable,
        }


def _fingerprint(rows: Sequence[PlacedPhoto], captions: Sequence[Sequence[str]]) -> str:
    """Changes with the photographs' names, their order and their captions."""
    told = json.dumps(
        [[row.photo.path.name, *texts] for row, texts in zip(rows, captions, strict=True)]
    )
    return hashlib.sha256(told.encode()).hexdigest()[:16]
