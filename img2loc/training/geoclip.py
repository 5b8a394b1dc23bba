"""Trains GeoCLIP (Vivanco Cepeda et al., 2023): head and location tower, on frozen features."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from img2loc.core.devices import resolve_device
from img2loc.core.errors import ConfigError
from img2loc.core.protocols import Encoder, Source
from img2loc.data.source_from_path import open_source
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip import image_tower
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.training import checkpoint
from img2loc.training.accuracy import Accuracy
from img2loc.training.augmentation import random_view
from img2loc.training.contrastive import Queue, contrast, not_negatives, shifted
from img2loc.training.features import Features, extract
from img2loc.training.geoclip_settings import GeoClipTraining
from img2loc.training.initialization import (
    EPOCH,
    RANDOM,
    SAMPLE,
    START,
    VIEW,
    seed_of,
    split_features,
    starting_parts,
)

Progress = Callable[[str, int, int, str], None]
"""Takes the unit ("photos" or "steps"), how many are done, of how many, and a remark: the loss."""
_GALLERY, _MEASURED = 100_000, 10_000


def train(
    settings: GeoClipTraining,
    tower: Encoder,
    source: Source,
    folder: Path,
    progress: Progress = lambda what, done, total, remark: None,
) -> list[dict[str, Any]]:
    """Train on a source's photographs, into `folder`, or resume there; returns each epoch's record.

    The folder is what an encoder of kind "geoclip" takes as its `weights`. A record, also a line of
    `history.jsonl`, holds the epoch, the mean loss, learning rate and scale that it ended with,
    seconds, and the shares of training and validation photographs placed within 1, 25, 200, 750 and
    2500 km, by arg-max over the training photographs' coordinates (at most 10,000 photographs over
    100,000 coordinates). Killed at any moment and called again, it ends at the same weights; more
    `epochs` continue from there. Raises ConfigError for a tower without features, for a folder
    that holds another training or model or is in use, where it cannot be written, and where the
    loss is not finite or no photograph has a negative; the last checkpoint stays. Raises
    SourceError where fewer than two photographs can be used.
    """
    tower = image_tower(tower)
    others = (
        open_source(Path(settings.validation)) if isinstance(settings.validation, str) else None
    )
    plan = {"model": "geoclip", "encoder": tower.name, "source": source.fingerprint}
    elsewhere = ("encoder", "epochs", "device")
    plan |= {key: value for key, value in asdict(settings).items() if key not in elsewhere}
    if settings.projection == "equal-earth":  # Trainings that were begun before it was a key.
        del plan["projection"]
    if others is not None:
        plan["validation"] = f"{settings.validation} ({others.fingerprint})"
    elif settings.validation:
        plan["split"] = "by photographer"

    def features_of(source: Source) -> Features:
        return extract(source, tower, lambda done: progress("photos", done, len(source), ""))

    local = settings.weights not in (RANDOM, geoclip_towers.PACKAGE)
    with checkpoint.claimed(folder, settings.weights if local else ""):
        # Before any work, so that another training's folder is refused at once.
        state = checkpoint.resume(folder, plan)
        features = features_of(source)
        features.write_skipped(folder)
        validation = None if others is None else features_of(others)
        steps = partial(progress, "steps")
        training = _Training(settings, tower, source, features, validation, steps)
        return checkpoint.run_epochs(folder, plan, state, training, settings.epochs)


class _Training:
    """The parts, and all that changes while they are trained."""

    remedy = "Lower [train.geoclip] lr, or sigma where it is not the paper's."

    def __init__(
        self,
        settings: GeoClipTraining,
        tower: TorchEncoder,
        source: Source,
        features: Features,
        validation: Features | None,
        progress: Callable[[int, int, str], None],
    ) -> None:
        self._settings, self._tower, self._features = settings, tower, features
        self._photos = features.photos(source) if settings.augment else None
        self._progress = progress
        self._device = resolve_device(settings.device)
        self._rows, held_out = split_features(
            features, source, settings.validation, settings.fraction, settings.seed
        )
        self._measured = {"training": (features, self._sample(self._rows, _MEASURED))}
        if validation is not None:
            rows = self._sample(np.arange(len(validation)), _MEASURED)
            self._measured["validation"] = validation, rows
        elif len(held_out):
            self._measured["validation"] = features, self._sample(held_out, _MEASURED)
        self._parts = starting_parts(
            *(settings.weights, tower, settings.sigma, settings.projection),
            seed_of(settings.seed, START),
        ).to(self._device)
        optimizer = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
        self._optimizer = optimizer(
            [tensor for tensor in self._parts.parameters() if tensor.requires_grad],
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            # One pass over the parts: a fifth of the time on a CPU.
            fused=self._device.partition(":")[0] in ("cpu", "cuda"),
        )
        self._queue = Queue(settings.queue)

    def learning_rate(self, epoch: int) -> float:
        return self._settings.lr * self._settings.gamma**epoch

    def epoch(self, epoch: int) -> dict[str, Any] | None:
        began = time.monotonic()
        settings = self._settings
        random = torch.Generator().manual_seed(seed_of(settings.seed, EPOCH, epoch))
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate(epoch)
        order = self._rows[torch.randperm(len(self._rows), generator=random).numpy()]
        starts = range(0, len(order), settings.batch_size)
        total, any_negative = 0.0, False
        for step, start in enumerate(starts, epoch * len(starts) + 1):
            rows = order[start : start + settings.batch_size]
            loss, negatives = self._step(rows, epoch, random)
            if not math.isfinite(loss):
                return None
            total += loss * len(rows)
            any_negative |= negatives
            steps = settings.epochs * len(starts)
            self._progress(step, steps, f"epoch {epoch + 1}, loss {loss:.3f}")
        if not any_negative:
            raise ConfigError(
                f"In epoch {epoch + 1} no photograph had a negative, so that there was nothing to"
                f" learn: all others are within {max(settings.same_place, 1):g} metres. Lower"
                " [train.geoclip] same_place_m or noise_m, or add other places."
            )
        gallery = self._features.points[self._sample(self._rows, _GALLERY)]
        accuracy = Accuracy(self._parts, np.unique(gallery, axis=0), self._device)
        if not accuracy.finite:  # After the epoch's last step, which no loss has seen.
            return None
        return {
            "epoch": epoch + 1,
            "loss": total / len(order),
            "learning_rate": self.learning_rate(epoch),
            "scale": float(self._parts.logit_scale.detach().exp()),
            **{
                name: accuracy.shares(rows, features.__getitem__, features.points[rows])
                for name, (features, rows) in self._measured.items()
            },
            "seconds": round(time.monotonic() - began, 3),
        }

    def state(self) -> dict[str, Any]:
        return {
            "parts": self._parts.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "queue": self._queue.points,
            "photos": len(self._features),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if state["photos"] != len(self._features):
            raise ConfigError(
                f"The training was begun on {state['photos']:,} photographs, and"
                f" {len(self._features):,} can be used now. Make them the same again, or choose"
                " another --out."
            )
        self._parts.load_state_dict(state["parts"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._queue = Queue(self._settings.queue, state["queue"])

    def save(self, folder: Path, finished: bool) -> None:
        geoclip_towers.save(self._parts, folder, {"encoder": self._tower.name})

    def _step(
        self, rows: NDArray[np.int64], epoch: int, random: torch.Generator
    ) -> tuple[float, bool]:
        """Learn from a batch; its loss, and whether any photograph of it had a negative."""
        settings, parts = self._settings, self._parts
        points = torch.from_numpy(self._features.points[rows])
        excluded = not_negatives(points, self._queue.points, settings.same_place)
        noisy = [
            shifted(points, settings.noise_m, random),
            shifted(self._queue.points, settings.queue_noise_m, random),
        ]
        places = parts.location_encoder(torch.cat(noisy).float().to(self._device))
        images = parts.head(torch.from_numpy(self._batch(rows, epoch)).to(self._device))
        loss = contrast(images, places, parts.logit_scale.exp(), excluded)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        with torch.no_grad():
            parts.logit_scale.clamp_(0, math.log(100))  # As CLIP: beyond, training turns unstable.
        self._queue.push(points)
        return float(loss.detach()), int((~excluded).sum()) > len(rows)  # Each has its own place.

    def _batch(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.float32]:
        """The frozen tower's features of these photographs, or of new views of them."""
        batch, photos = self._features[rows], self._photos
        if photos is None:
            return batch

        def decode(row: int) -> torch.Tensor:
            seed = seed_of(self._settings.seed, VIEW, epoch, row)
            return self._tower.prepare(random_view(photos[row].image(), self._tower.size, seed))

        views = self._tower.run(rows.tolist(), decode, self._tower.forward)
        for at, (_, features) in enumerate(views):
            # A photograph that cannot be read any more, or has no features, keeps its old ones.
            if not isinstance(features, str) and np.isfinite(features).all() and features.any():
                batch[at] = features
        return batch

    def _sample(self, rows: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """At most so many of the rows, always the same."""
        random = np.random.default_rng([self._settings.seed, SAMPLE])
        return rows if len(rows) <= most else np.sort(random.choice(rows, most, replace=False))
