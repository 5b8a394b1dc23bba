"""eval/reference/published.toml: what papers report on a benchmark, and by which protocol."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from img2loc.core import paths
from img2loc.core.errors import SourceError
from img2loc.core.geo import THRESHOLDS_KM

Whose = Literal["paper", "re-run", "quoted", "survey"]


@dataclass(frozen=True, slots=True)
class Published:
    """A published row; `accuracy` is per cent by threshold, with only those that are reported."""

    method: str
    year: int
    benchmark: str
    accuracy: Mapping[str, float]
    whose: Whose
    source: str
    differs: tuple[str, ...]
    """Sentences: where its protocol is another than ours, or not known."""
    variant: str = ""
    protocol: str = ""

    @property
    def name(self) -> str:
        """The method, and which of its variants."""
        return f"{self.method} ({self.variant})" if self.variant else self.method


def rows_of(benchmark: str | None = None) -> list[Published]:
    """The rows of a benchmark, or of all, best within 25 km first."""
    rows = [row for row in _rows() if benchmark in (None, row.benchmark)]
    return sorted(rows, key=lambda row: -row.accuracy.get("25", 0.0))


@cache
def _rows() -> tuple[Published, ...]:
    path = paths.folder("eval") / "reference" / "published.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return tuple(
        _row(number, row, content["flags"]) for number, row in enumerate(content["row"], 1)
    )


def _row(number: int, row: dict[str, Any], flags: Mapping[str, str]) -> Published:
    """One row, checked: this is a file that people edit by hand. Raises SourceError."""
    where = f"eval/reference/published.toml, row {number} ({row.get('method')})"
    if unknown := [flag for flag in row.get("differs", []) if flag not in flags]:
        raise SourceError(f"{where}: there is no flag {unknown[0]!r}. Known: {', '.join(flags)}.")
    if row.get("whose") not in get_args(Whose):
        raise SourceError(
            f"{where}: whose = {row.get('whose')!r}. Known: {', '.join(get_args(Whose))}."
        )
    if unknown := sorted(set(row.get("accuracy", {})) - {str(km) for km in THRESHOLDS_KM}):
        raise SourceError(f"{where}: there is no threshold {unknown[0]!r}.")
    try:
        return Published(**{**row, "differs": tuple(flags[flag] for flag in row["differs"])})
    except (TypeError, KeyError) as error:
        raise SourceError(f"{where} cannot be read: {error}.") from error
