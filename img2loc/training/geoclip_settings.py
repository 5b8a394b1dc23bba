"""How `img2loc train geoclip` trains: the keys of [train.geoclip], checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from img2loc.encoders.geoclip_towers import SIGMAS, Projection
from img2loc.training.initialization import RANDOM
from img2loc.training.settings import check_settings


@dataclass(frozen=True, slots=True)
class GeoClipTraining:
    """The keys of [train.geoclip]; defaults are the paper's where it has them. Raises ConfigError.

    `encoder` names the image tower; `weights` is "random", or what `geoclip_towers.load` takes, to
    fine-tune. `gamma` multiplies the learning rate after each epoch. `queue` is the number of past
    batches' points that are negatives too. `noise_m` and `queue_noise_m` are standard deviations of
    the noise on positions, in metres to the north and to the east; points closer than
    `same_place_m` (None: `noise_m`), or than a metre, to a photograph are no negatives of it. An
    empty `sigma` leaves the Fourier features out. `fraction` is the share of the photographs to
    train on, `validation` a share to hold out by photographer, or a CSV of others. With `augment`,
    the tower sees random views of the photographs in each epoch, in place of features that were
    computed once.
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
    projection: Projection = "equal-earth"
    fraction: float = 1.0
    validation: float | str = 0.0
    augment: bool = False
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        share = self.validation if isinstance(self.validation, float | int) else 0.0
        rules: dict[str, tuple[bool, str]] = {
            "epochs": (self.epochs >= 1, "1 or more"),
            "batch_size": (self.batch_size >= 2, "2 or more: another's place is the negative"),
            "optimizer": (self.optimizer in ("adam", "adamw"), '"adam" or "adamw"'),
            "lr": (0 < self.lr < math.inf, "above 0"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "0 or more"),
            "gamma": (0 < self.gamma <= 1, "above 0 and at most 1"),
            "queue": (self.queue >= 0, "0 or more"),
            "noise_m": (0 <= self.noise_m < math.inf, "0 metres or more"),
            "queue_noise_m": (0 <= self.queue_noise_m < math.inf, "0 metres or more"),
            "same_place_m": (0 <= self.same_place < math.inf, "0 metres or more"),
            "sigma": (all(0 < sigma < math.inf for sigma in self.sigma), "numbers above 0"),
            "fraction": (0 < self.fraction <= 1, "above 0 and at most 1"),
            "validation": (0 <= share < 1, "a share below 1, or a CSV"),
        }
        check_settings("geoclip", self, rules)

    @property
    def same_place(self) -> float:
        """Metres within which two points are of one place."""
        return self.noise_m if self.same_place_m is None else self.same_place_m
