"""Trains GeoCLIP's parts (Vivanco Cepeda et al., NeurIPS 2023): the head and the location tower, on a frozen image tower."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from img2loc.core.devices import resolve_device
from img2loc.core.errors import ConfigError
from img2loc.core.protocols import Encoder, Source
from img2loc.core.types import Photo
from img2loc.data.open_source import open_source
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip_towers import SIGMAS
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.training import checkpoint
from img2loc.training.accuracy import Measure
from img2loc.training.augmentation import view
from img2loc.training.contrastive import Queue, contrast, not_negatives, shifted
from img2loc.training.features import Features, extract, through
from img2loc.training.initialization import (
    EPOCH,
    RANDOM,
    SAMPLE,
    START,
    VIEW,
    seed_of,
    split,
    starting_parts,
)
from img2loc.training.settings import diverged, hold

Progress = Callable[[str, int, int, str], None]
"""Takes what is being done ("photos" or "steps"), how many are done, of how many, and a remark such as the loss."""
_GALLERY, _MEASURED = 100_000, 10_000
_REMEDY = "Lower [train.geoclip] lr, or sigma where it is not the paper's."


@dataclass(frozen=True, slots=True)
class GeoClipTraining:
    """The settings of a training, [train.geoclip]; the usual values are the paper's, where it gives them. Raises ConfigError.

    `encoder` names the image tower; `weights` is what to start from: "random", or what
    `geoclip_towers.load` takes, to fine-tune. `gamma` multiplies the learning rate after each
    epoch. `queue` is how many points of past batches are negatives too. `noise_m` and
    `queue_noise_m` are standard deviations of the noise on positions, in metres, to the north and
    to the east each; what lies closer than `same_place_m` (None: `noise_m`), or than a metre, to a
    photograph is no negative of it. `fraction` is the share of the photographs to train on,
    `validation` a share to hold back, or a CSV of others. With `augment`, the tower sees random
    views of the photographs in each epoch, in place of features that were taken once.
    """

    encoder: str = "clip-l14-hf"
    weights: str = RANDOM
    epochs: int = 10
    batch_size: int = 512
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: float = 3e-5
    weight_decay: float = 1e-6
    gamma: float = 0.87
    queue: int = 4096
    noise_m: float = 150.0
    queue_noise_m: float = 1000.0
    same_place_m: float | None = None
    sigma: Sequence[float] = SIGMAS
    fraction: float = 1.0
    validation: float | str = 0.0
    augment: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        share = self.validation if isinstance(self.validation, float | int) else 0.0
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (
                self.batch_size >= 2,
                "2 or more: a photograph needs another's place as a negative",
            ),
            "optimizer": (self.optimizer in ("adam", "adamw"), '"adam" or "adamw"'),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "gamma": (0 < self.gamma <= 1, "above 0 and at most 1"),
            "queue": (self.queue >= 0, "0 or more"),
            "noise_m": (0 <= self.noise_m < math.inf, "0 metres or more"),
            "queue_noise_m": (0 <= self.queue_noise_m < math.inf, "0 metres or more"),
            "same_place_m": (
                self.same_place_m is None or 0 <= self.same_place_m < math.inf,
                "0 metres or more",
            ),
            "sigma": (
                len(self.sigma) > 0 and all(0 < sigma < math.inf for sigma in self.sigma),
                "numbers above 0",
            ),
            "fraction": (0 < self.fraction <= 1, "above 0 and at most 1"),
            "validation": (0 <= share < 1, "a share below 1, or a CSV"),
        }
        hold("geoclip", self, rules)


def train(
    settings: GeoClipTraining,
    tower: Encoder,
    source: Source,
    folder: Path,
    progress: Progress = lambda what, done, total, remark: None,
) -> list[dict[str, Any]]:
    """Train on a source's photographs, into `folder`, or go on where an earlier call stopped; returns a record for each epoch.

    The folder is what an encoder of kind "geoclip" takes as its `weights`. A record, also a line of
    `history.jsonl`, holds the epoch, the mean loss, learning rate and scale that it ended with,
    seconds, and the shares of training and validation photographs placed within 1, 25, 200, 750 and
    2500 km, by arg-max over the training photographs' coordinates (at most 10,000 photographs over
    100,000 coordinates). Killed at any moment and called again, it ends at the same weights; more
    `epochs` go on from there. Raises ConfigError for a tower that gives no features, for a folder
    that holds another training or model or is in use, where it cannot be written, and where the
    loss is not finite or no photograph has a negative; the last checkpoint stays. Raises
    SourceError where fewer than two photographs can be used.
    """
    if not isinstance(tower, TorchEncoder):
        raise ConfigError(
            f"{tower.name!r} cannot be the image tower of GeoCLIP: it gives no features before unit"
            " length."
        )
    apart = open_source(Path(settings.validation)) if isinstance(settings.validation, str) else None
    unchanging = {
        key: value
        for key, value in asdict(settings).items()
        if key not in ("encoder", "epochs", "device")
    }
    plan = {"model": "geoclip", "encoder": tower.name, "source": source.fingerprint, **unchanging}
    if apart is not None:
        plan["validation"] = f"{settings.validation} ({apart.fingerprint})"
    with checkpoint.claimed(
        folder, "" if settings.weights in (RANDOM, geoclip_towers.PACKAGE) else settings.weights
    ):
        state = checkpoint.resume(
            folder, plan
        )  # Another training's folder is refused before any work.
        found = extract(source, tower, partial(_photos_done, progress, len(source)))
        found.write_skipped(folder)
        held = (
            None
            if apart is None
            else extract(apart, tower, partial(_photos_done, progress, len(apart)))
        )
        training = _Training(settings, tower, found, held)
        if settings.augment:
            training.photos = found.photos(source)
        if state is not None:
            training.restore(state, folder)
            training.write(
                folder
            )  # A kill may have come between the checkpoint and what is made of it.
        for epoch in range(training.done, settings.epochs):
            training.epoch(epoch, partial(progress, "steps"))
            checkpoint.save(folder, plan, training.state())
            training.write(folder)
        return training.history


def _photos_done(progress: Progress, total: int, done: int) -> None:
    progress("photos", done, total, "")


class _Training:
    """The parts, and all that changes while they are trained."""

    photos: list[Photo] | None = None

    def __init__(
        self, settings: GeoClipTraining, tower: TorchEncoder, found: Features, held: Features | None
    ) -> None:
        self._settings, self._tower, self._found = settings, tower, found
        self._device = resolve_device(settings.device)
        share = settings.validation if not isinstance(settings.validation, str) else 0.0
        self._rows, held_back = split(len(found), share, settings.fraction, settings.seed)
        self._sets = {"training": (found, self._sample(self._rows, _MEASURED))}
        if held is not None:
            self._sets["validation"] = (held, self._sample(np.arange(len(held)), _MEASURED))
        elif len(held_back):
            self._sets["validation"] = (found, self._sample(held_back, _MEASURED))
        self._parts = starting_parts(
            settings.weights, tower, settings.sigma, seed_of(settings.seed, START)
        ).to(self._device)
        changing = [tensor for tensor in self._parts.parameters() if tensor.requires_grad]
        kinds: dict[str, type[torch.optim.Optimizer]] = {
            "adam": torch.optim.Adam,
            "adamw": torch.optim.AdamW,
        }
        fused = self._device.partition(":")[0] in (
            "cpu",
            "cuda",
        )  # One pass over the parts: a fifth of the time, on a CPU.
        options: dict[str, Any] = {
            "lr": settings.lr,
            "weight_decay": settings.weight_decay,
            "fused": fused,
        }
        self._optimizer = kinds[settings.optimizer](changing, **options)
        self._queue = Queue(settings.queue)
        self.history: list[dict[str, Any]] = []

    @property
    def done(self) -> int:
        """Epochs that are behind."""
        return len(self.history)

    def epoch(self, epoch: int, progress: Callable[[int, int, str], None]) -> None:
        """Train for one epoch, and measure.

        What is random in it hangs on the seed and the epoch's number alone.
        """
        began = time.monotonic()
        settings = self._settings
        random = torch.Generator().manual_seed(seed_of(settings.seed, EPOCH, epoch))
        rate = settings.lr * settings.gamma**epoch
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        order = self._rows[torch.randperm(len(self._rows), generator=random).numpy()]
        starts = range(0, len(order), settings.batch_size)
        losses, told_apart = [], False
        for step, start in enumerate(starts, 1):
            rows = order[start : start + settings.batch_size]
            loss, negatives = self._step(rows, epoch, random)
            if not math.isfinite(loss):
                raise diverged(epoch, rate, _REMEDY)
            losses.append(loss * len(rows))
            told_apart = told_apart or negatives
            progress(
                epoch * len(starts) + step,
                settings.epochs * len(starts),
                f"epoch {epoch + 1}, loss {losses[-1] / len(rows):.3f}",
            )
        if not told_apart:
            raise ConfigError(
                f"In epoch {epoch + 1} no photograph had a negative, so that there was nothing to"
                f" learn: all others lie closer than {max(self._near, 1):g} metres. Lower"
                " [train.geoclip] same_place_m or noise_m, or add other places."
            )
        accuracies = self._accuracies()
        if accuracies is None:
            raise diverged(
                epoch, rate, _REMEDY
            )  # By the epoch's last step, which no loss has seen.
        self.history.append(
            {
                "epoch": epoch + 1,
                "loss": sum(losses) / len(order),
                "learning_rate": rate,
                "scale": float(self._parts.logit_scale.detach().exp()),
                **accuracies,
                "seconds": round(time.monotonic() - began, 3),
            }
        )

    def state(self) -> dict[str, Any]:
        """All that a later process needs to go on."""
        return {
            "parts": self._parts.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "queue": self._queue.points,
            "history": self.history,
            "photos": len(self._found),
        }

    def restore(self, state: Mapping[str, Any], folder: Path) -> None:
        """Go on from a state.

        Raises ConfigError where it is of more epochs or of other photographs.
        """
        if state["photos"] != len(self._found):
            raise ConfigError(
                f"{folder} holds a training on {state['photos']:,} photographs, and"
                f" {len(self._found):,} can be used now. Make them the same again, or choose"
                " another --out."
            )
        checkpoint.refuse_fewer(folder, len(state["history"]), self._settings.epochs)
        self._parts.load_state_dict(state["parts"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._queue = Queue(self._settings.queue, state["queue"])
        self.history = list(state["history"])

    def write(self, folder: Path) -> None:
        """Write the parts as an encoder's weights, and the history."""
        geoclip_towers.save(self._parts, folder, {"encoder": self._tower.name})
        checkpoint.write_history(folder, self.history)

    @property
    def _near(self) -> float:
        settings = self._settings
        return settings.noise_m if settings.same_place_m is None else settings.same_place_m

    def _step(
        self, rows: NDArray[np.int64], epoch: int, random: torch.Generator
    ) -> tuple[float, bool]:
        """Learn from a batch; its loss, and whether any photograph of it had a negative."""
        settings, parts = self._settings, self._parts
        points = torch.from_numpy(self._found.points[rows])
        excluded = not_negatives(points, self._queue.points, self._near)
        noisy = [
            shifted(points, settings.noise_m, random),
            shifted(self._queue.points, settings.queue_noise_m, random),
        ]
        places = parts.location_encoder(torch.cat(noisy).float().to(self._device))
        images = parts.head(torch.from_numpy(self._features(rows, epoch)).to(self._device))
        loss = contrast(images, places, parts.logit_scale.exp(), excluded)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        with torch.no_grad():
            parts.logit_scale.clamp_(0, math.log(100))  # As CLIP: beyond, training turns unstable.
        self._queue.push(points)
        return float(loss.detach()), int((~excluded).sum()) > len(rows)  # Each has its own place.

    def _features(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """What the frozen tower makes of these photographs, or of new views of them."""
        taken = self._found[rows]
        if self.photos is not None:
            views = (
                partial(
                    self._view,
                    self.photos[row],
                    seed_of(self._settings.seed, VIEW, epoch, int(row)),
                )
                for row in rows
            )
            for place, features in enumerate(through(self._tower, views)):
                if not isinstance(
                    features, str
                ):  # One that can be read no more is seen as it was when its features were taken.
                    taken[place] = features
        return taken

    def _view(self, photo: Photo, seed: int) -> torch.Tensor:
        return self._tower.prepare(view(photo.image(), self._tower.size, seed))

    def _accuracies(self) -> dict[str, Any] | None:
        """The shares of both sets; None where the towers give numbers that are none."""
        gallery = self._found.points[self._sample(self._rows, _GALLERY)]
        measure = Measure(self._parts, np.unique(gallery, axis=0), self._device)
        if not measure.finite:
            return None
        return {
            name: measure.shares(rows, of.__getitem__, of.points[rows])
            for name, (of, rows) in self._sets.items()
        }

    def _sample(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """At most so many of the rows, always the same."""
        if len(rows) <= most:
            return rows
        return np.sort(
            np.random.default_rng([self._settings.seed, SAMPLE]).choice(rows, most, replace=False)
        )
