"""`index calibrate`: a gallery's own rows, asked one by one → its calibration.json."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.config import factory, galleries
from img2loc.config.config import Config
from img2loc.config.parts import identity, parts
from img2loc.config.plan import Plan
from img2loc.core.errors import ConfigError, Img2LocError
from img2loc.core.geo import distance_km
from img2loc.core.protocols import Locator
from img2loc.gallery.build.build_folder import workspace
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.manifest import CALIBRATION
from img2loc.gallery.own_rows import OwnRows
from img2loc.locators.calibration import FEWEST, Calibration, calibrate, checked_shares
from img2loc.locators.conformal import Evidence
from img2loc.locators.radius import evidence_of

LOCATOR = "retrieval"
ROWS = 3000
"""Rows that are asked about: with more, the promise is hardly better known."""
_DONE = "calibration.jsonl"
"""What is done, until all is: its first line says of what."""
_NUMBERS = ("error_km", "spread_km", "similarity")
_LARGEST = 1e6
_TRIED = 10
_CHEAP = 0.1  # Of the time that a build took.
Progress = Callable[[int, int], None]


def calibrate_rows(
    config: Config,
    gallery: str,
    locator: str = LOCATOR,
    rows: int = ROWS,
    shares: Sequence[float] = (),
    progress: Progress = lambda done, total: None,
) -> Calibration:
    """Ask about rows of a gallery, drawn at random, and write its calibration.

    What is done is kept: the same call goes on there, and ends with the same calibration. Raises
    ConfigError where the locator cannot be asked so, or too few rows have an answer.
    """
    checked_shares(shares)
    plan = _plan(config, gallery, locator)
    facts = galleries.find_gallery(config, gallery)
    opened = Gallery.open(facts.folder)
    chosen = np.random.default_rng(0).permutation(len(opened))[:rows].tolist()
    if len(chosen) < FEWEST:
        raise ConfigError(
            f"Nothing can be promised: the gallery {facts.folder} has {len(opened):,} rows, and"
            f" {FEWEST} with an answer are needed."
        )
    of = identity(parts(plan))
    own = OwnRows(opened, chosen)
    with workspace(facts.folder).locked():
        file = facts.folder / _DONE
        header = {"of": of, "rows": len(chosen)}
        done = _read(file, header, chosen)
        progress(len(done), len(chosen))
        if len(done) < len(chosen):
            built = factory.bare_locator(plan, exclusions=own, make_encoder=lambda: own)
            with file.open("a", encoding="utf-8") as lines:
                for line in _asked(built, own, chosen[len(done) :]):
                    lines.write(json.dumps(line) + "\n")
                    lines.flush()
                    done.append(line)
                    progress(len(done), len(chosen))
        found = _calibration(done, own, of, facts.folder.name, shares)
        found.save(facts.folder / CALIBRATION)
        file.unlink()
    return found


def calibrate_if_cheap(
    config: Config, gallery: Gallery, build_seconds: float
) -> Calibration | None:
    """The calibration of a gallery that was just built, where it costs a tenth of that at most.

    None where it costs more, and where there is nothing to promise: the gallery is whole anyway.
    """
    rows = min(len(gallery), ROWS)
    if gallery.of != "photos" or rows < FEWEST or (gallery.folder / CALIBRATION).exists():
        return None
    with suppress(Img2LocError):
        if _seconds_a_row(config, gallery) * rows <= _CHEAP * build_seconds:
            return calibrate_rows(config, str(gallery.folder))
    return None


def _seconds_a_row(config: Config, gallery: Gallery) -> float:
    plan = _plan(config, str(gallery.folder), LOCATOR)
    some = list(range(_TRIED))
    own = OwnRows(gallery, some)
    built = factory.bare_locator(plan, exclusions=own, make_encoder=lambda: own)
    begun = time.monotonic()
    list(_asked(built, own, some))
    return (time.monotonic() - begun) / _TRIED


def _plan(config: Config, gallery: str, locator: str) -> Plan:
    """The plan, whose locator takes rows in place of photographs. Raises ConfigError."""
    factory.override(config, locator, gallery=gallery)
    plan = Plan(config, locator)
    if plan.lmms or not {"encoder", "exclusions"} <= plan.takes:
        raise ConfigError(
            f"The locator {locator!r} needs the photos themselves. Calibrate it by a benchmark:"
            " img2loc bench run, then img2loc bench calibrate RUN."
        )
    return plan


def _asked(locator: Locator, own: OwnRows, rows: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What came out for each row: its error, None without an answer, and the evidence."""
    for row, guess in zip(rows, locator.locate(own.photos(rows)), strict=True):
        known = evidence_of([guess])
        error = None if guess.location is None else distance_km(guess.location, own.place(row))
        yield {
            "row": row,
            "error_km": error,
            "spread_km": guess.spread_km,
            "similarity": None if np.isnan(known.similarity[0]) else float(known.similarity[0]),
        }


def _calibration(
    done: Sequence[Mapping[str, Any]],
    own: OwnRows,
    of: Mapping[str, Any],
    name: str,
    shares: Sequence[float],
) -> Calibration:
    answered = [line for line in done if line["error_km"] is not None]
    columns = (
        np.array([np.nan if line[key] is None else line[key] for line in answered], dtype=float)
        for key in ("error_km", "spread_km", "similarity")
    )
    errors, spread, similarity = columns
    clusters, counted = own.clusters([line["row"] for line in answered])
    return calibrate(
        errors,
        Evidence(spread, similarity),
        clusters,
        shares,
        of=of,
        measured_on=f"{len(answered):,} rows of the gallery {name}",
        counted=counted,
    )


def _read(file: Path, header: Mapping[str, Any], rows: Sequence[int]) -> list[dict[str, Any]]:
    """What is done of the same; a torn last line is dropped, and another beginning starts anew."""
    try:
        first, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        if json.loads(first) == json.loads(json.dumps(header)):
            done = [json.loads(line) for line in lines]
            if not all(map(_is_sound, done, rows)) or len(done) > len(rows):
                raise ValueError("lines of another kind")
            file.write_text("\n".join([first, *lines, ""]), encoding="utf-8")
            return done
    except (OSError, ValueError, RecursionError):
        pass
    file.write_text(json.dumps(dict(header)) + "\n", encoding="utf-8")
    return []


def _is_sound(line: Any, row: int) -> bool:
    """Whether a line is of a row, as it was written."""
    if not isinstance(line, dict) or line.get("row") != row:
        return False
    numbers = [line.get(key, "") for key in _NUMBERS]
    return all(
        one is None or (isinstance(one, int | float) and abs(one) < _LARGEST) for one in numbers
    )
