"""A benchmark's recipe, or your own CSV → its photographs and where they were taken."""

import hashlib
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from img2loc.core import paths
from img2loc.core.errors import SourceError, UnknownName
from img2loc.core.types import Item, Location
from img2loc.data.csv_source import CsvSource
from img2loc.data.photo_names import key, photographer
from img2loc.data.recipes import content_of

PHOTO_NAMES = ("image_name", "img_name", "photo_id")
"""Further names of the column of photographs, which people's own files have."""


@dataclass(frozen=True, slots=True)
class Truth:
    """A photograph: its id, where it was taken, who took it ("" if not known), its file's name."""

    id: str
    location: Location
    author: str = ""
    photo: str = ""


@dataclass(frozen=True, slots=True)
class Mirror:
    """An address of the truth file or the photographs' archive, with its checksum where known."""

    what: str
    url: str
    sha256: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What is known about a benchmark.

    `truth` is its CSV and `photos` the folder of its photographs, where they are not in `home`.
    `shipped` is whether its recipe is one of ours, and not somebody's file of the same name.
    """

    name: str
    description: str = ""
    rows: int | None = None
    columns: dict[str, str] = field(default_factory=dict)
    rows_sha256: str = ""
    checksum_of: str = ""
    terms: str = ""
    defects: tuple[str, ...] = ()
    obtain: tuple[str, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    truth: Path | None = None
    photos: Path | None = None
    shipped: bool = False

    @property
    def home(self) -> Path:
        """Where its files are unless others are named: `truth.csv` and `photos/`."""
        return paths.benchmarks() / self.name

    def truth_file(self) -> Path:
        """Its CSV. Raises SourceError with the steps to get it where it is not here."""
        path = self.truth or self.home / "truth.csv"
        if path.is_file():
            return path
        raise SourceError(
            "\n".join([f"The truth file of {self.name} is not at {path}.", *self.steps()])
        )

    def photo_folder(self) -> Path:
        """The folder of its photographs: as named, in its home, or beside your own CSV."""
        if self.photos is not None:
            return self.photos
        beside = self.truth is not None and not (self.home / "photos").is_dir()
        return self.truth_file().parent if beside else self.home / "photos"

    def steps(self) -> list[str]:
        """What to get, where to put it, and how to point at a copy that lies elsewhere."""
        return [
            *(f"  {number}. {step}" for number, step in enumerate(self.obtain, 1)),
            "  Copies that lie elsewhere: --truth FILE.csv --photos FOLDER. The usual place is"
            f" {self.home}/ (truth.csv and photos/).",
        ]

    def load(self) -> tuple[list[Truth], list[str]]:
        """Its rows in the file's order, and why other rows cannot be used. Raises SourceError.

        Where no column names the photographs, they are named by their ids.
        """
        path = self.truth_file()
        truths: list[Truth] = []
        skipped: list[str] = []
        names = (*PHOTO_NAMES, "id")
        for entry in CsvSource(path, Path(), self.columns, photo_names=names, find=False):
            if isinstance(entry, Item):
                photo = entry.photo.path.as_posix()
                author = photographer(entry.author, photo)
                truths.append(Truth(entry.id, entry.location, author, photo))
            else:
                skipped.append(f"{entry.id}: {entry.reason}")
        if not truths:
            reason = skipped[0] if skipped else "it is empty"
            raise SourceError(f"{path} has no row that can be used ({reason}). Mend the CSV.")
        return truths, skipped

    def warnings(self, truths: Sequence[Truth]) -> list[str]:
        """How the rows differ from those that the recipe describes."""
        if self.rows is not None and len(truths) != self.rows:
            return [f"{self.name} has {self.rows:,} rows, and this file {len(truths):,}."]
        if self.rows_sha256 and rows_sha256(truths) != self.rows_sha256:
            return [f"This file's photos or coordinates differ from those of {self.name}."]
        return []


def rows_sha256(truths: Iterable[Truth]) -> str:
    """SHA-256 of the sorted lines "photo lat lon" (six decimals), whatever the file's format."""
    lines = sorted(
        f"{key(row.photo)} {row.location.lat + 0.0:.6f} {row.location.lon + 0.0:.6f}\n"
        for row in truths
    )
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def select(
    truths: Sequence[Truth], limit: str | None = None, shuffle: bool = False, seed: int = 0
) -> list[Truth]:
    """The rows of a run: shuffled, then the first N ("N"), or A to B ("A-B", from 1)."""
    chosen = list(truths)
    if shuffle:
        random.Random(seed).shuffle(chosen)
    if limit is None:
        return chosen
    numbers = re.fullmatch(r"(?:(\d+)-)?(\d+)", limit.strip())
    first, last = (int(numbers[1] or 1), int(numbers[2])) if numbers else (0, 0)
    if not 1 <= first <= last:
        raise SourceError(
            f"--limit {limit}: give a number of photos (100), or the first and the last of them"
            " (101-200)."
        )
    if first > len(chosen):
        raise SourceError(f"--limit {limit}: there are {len(chosen):,} photos only.")
    return chosen[first - 1 : last]


def known() -> list[str]:
    """The names of the benchmarks whose recipes ship."""
    return sorted(path.stem for path in paths.folder("eval").glob("*.toml"))


def find(name: str, truth: Path | None = None, photos: Path | None = None) -> Benchmark:
    """The benchmark of a name, a TOML file or a CSV, with `truth` and `photos` in place of its own.

    Raises SourceError for a file that cannot be used, or UnknownName.
    """
    path = Path(name)
    shipped = paths.folder("eval") / f"{name}.toml"
    if path.suffix == ".toml":
        benchmark = _read(path)
    elif name in known():
        benchmark = replace(_read(shipped), shipped=True)
    elif path.is_file():
        benchmark = Benchmark(path.resolve().stem, truth=path)
    elif "/" in name or path.suffix:
        raise SourceError(
            f"There is no file {name}. Name a CSV with coordinates, a recipe, or one of:"
            f" {', '.join(known())}."
        )
    else:
        raise UnknownName("benchmark", name, known())
    return replace(benchmark, truth=truth or benchmark.truth, photos=photos or benchmark.photos)


_TYPES: dict[str, type] = {
    **dict.fromkeys(("description", "rows_sha256", "checksum_of", "terms", "truth", "photos"), str),
    "rows": int,
    "columns": dict,
    "defects": list,
    "obtain": list,
    "mirrors": list,
}


def _read(path: Path) -> Benchmark:
    content = content_of(path, _TYPES, "Copy eval/reference/template.toml and fill it in.")
    try:
        mirrors = tuple(Mirror(**mirror) for mirror in content.pop("mirrors", ()))
    except TypeError as error:
        raise SourceError(
            f"The recipe {path}: a mirror has the keys what, url, sha256 and note ({error})."
        ) from error
    if wrong := [mirror.what for mirror in mirrors if mirror.what not in ("truth", "photos")]:
        raise SourceError(
            f'The recipe {path}: a mirror is of what = "truth" or "photos", not {wrong[0]!r}.'
        )
    for name in {"truth", "photos"} & content.keys():
        content[name] = path.parent / content[name]
    for name in {"defects", "obtain"} & content.keys():
        content[name] = tuple(content[name])
    return Benchmark(path.stem, **content, mirrors=mirrors)
