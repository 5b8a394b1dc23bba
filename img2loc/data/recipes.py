"""A gallery recipe, a TOML file, a CSV or a folder, by whatever name → what to build a gallery from, and with what."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from img2loc.core import paths
from img2loc.core.errors import MissingPackage, SourceError, UnknownName
from img2loc.core.protocols import Source
from img2loc.core.spelling import american
from img2loc.data.captions import CaptionSource
from img2loc.data.concat import Concat
from img2loc.data.open_source import open_source
from img2loc.data.points import GridSource, PointsSource

KINDS = ("photos", "points", "texts")
"""What a gallery can be of."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a gallery is made. `path` is its CSV or folder, `photos` where a CSV's photographs lie; `of` what of it is embedded.

    A gallery of points may be a `sample` of its CSV's rows, or a `grid` of so many points in place
    of a CSV. A gallery of texts fills a `template` with the places of a list: at the `level`
    country or city, the `most` populous cities of each country, the countries in `split` taken
    region by region.

    Where `path` is a folder that somebody downloaded, `table` is the CSV in it, and `archives` the
    folder in it in which the photographs lie, in archives or loose. `sources` are recipes whose
    photographs are put into one gallery, one after the other.
    """

    name: str
    description: str = ""
    terms: str = ""
    obtain: str = ""
    encoder: str = "lite0"
    spec: str = "auto"
    of: str = "photos"
    grid: int | None = None
    sample: int | None = None
    path: Path | None = None
    photos: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    licenses: tuple[str, ...] = ()
    template: str = ""
    level: str = "city"
    most: int = 30
    split: tuple[str, ...] = ()
    table: str = ""
    archives: str = "."
    sources: tuple["Recipe", ...] = ()

    def __post_init__(self) -> None:
        if self.of not in KINDS:
            raise SourceError(
                f"The recipe {self.name!r} is of {self.of!r}; a gallery is of {', '.join(KINDS)}."
            )

    @property
    def is_whole(self) -> bool:
        """Whether it knows where its entries lie, so that nobody need bring any."""
        return self.path is not None or self.grid is not None or bool(self.sources)

    @property
    def command(self) -> str:
        """What builds it once its photographs have been brought."""
        return (
            f"img2loc index build {self.name} --source"
            f" {'FOLDER' if self.table else 'FILE.csv --photos FOLDER'}"
        )

    def source(self) -> Source:
        """Its photographs.

        Raises SourceError, saying what to get where, when the recipe does not know where they lie.
        """
        if self.grid is not None:
            return GridSource(self.grid)
        if self.sources:
            return Concat([(recipe.name, recipe.source()) for recipe in self.sources])
        if self.path is None:
            raise SourceError(
                f"The recipe {self.name!r} needs your copy of its photographs. {self.obtain} Then:"
                f" {self.command}"
            )
        if self.of == "texts":
            return CaptionSource(self.path, self.template, self.level, self.most, self.split)
        if self.of == "points":
            return PointsSource(self.path, self.columns, self.sample)
        if self.table and self.path.is_dir():
            table = next(
                (
                    t
                    for t in (self.path / self.table, self.path / Path(self.table).name)
                    if t.exists()
                ),
                None,
            )
            if table is None:
                raise SourceError(
                    f"{self.path} has no {self.table}, which says where the photographs are."
                    f" {self.obtain}"
                )
            return open_source(
                table, self.photos or self.path / self.archives, self.columns, self.licenses
            )
        return open_source(self.path, self.photos, self.columns, self.licenses)


_TYPES: dict[str, type] = {
    **dict.fromkeys(
        ("description", "terms", "obtain", "encoder", "spec", "of", "path", "photos"), str
    ),
    **dict.fromkeys(("template", "level", "table", "archives"), str),
    **dict.fromkeys(("grid", "sample", "most"), int),
    "columns": dict,
    "licenses": list,
    "split": list,
    "source": list,
}
_OF_A_SOURCE = ("path", "photos", "table", "archives", "columns", "licenses")


def find(name: str) -> Recipe:
    """The recipe that a name, a TOML file, a CSV or a folder stands for.

    Raises SourceError or UnknownName.
    """
    path = Path(name)
    if path.suffix == ".toml":
        return _read(path)
    if name in known():  # Before a folder of that name, which may be other people's.
        return _read(paths.folder("index") / f"{name}.toml")
    if path.exists():
        return Recipe(path.resolve().stem or "gallery", path=path)
    if "/" in name or path.suffix:
        raise SourceError(
            f"There is no file or folder {name}. Name a CSV, a folder of geotagged photos, or a"
            f" recipe: {', '.join(known())}."
        )
    raise UnknownName("recipe, file or folder", name, known())


def known() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(path.stem for path in paths.folder("index").glob("*.toml"))


def content_of(path: Path, known: Mapping[str, type], remedy: str = "") -> dict[str, Any]:
    """What a recipe's TOML file says, each key known and of its type.

    Raises SourceError, with the `remedy` where there is no such file.
    """
    try:
        content: dict[str, Any] = american(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise SourceError(f"There is no recipe {path}. {remedy}".rstrip()) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"The recipe {path} cannot be read: {error}.") from error
    _check(path, content, known)
    return content


def _read(path: Path) -> Recipe:
    content = content_of(path, _TYPES)
    parts = content.pop("source", [])
    if parts and "path" in content:
        raise SourceError(
            f"The recipe {path} has a path of its own and sources. Put the path into a [[source]]"
            " too."
        )
    for part in parts:
        _check(path, part, {"name": str, **{key: _TYPES[key] for key in _OF_A_SOURCE}})
        if "path" not in part:
            raise SourceError(f"The recipe {path} has a [[source]] without a path.")
    found = tuple(_recipe(path, part.pop("name", Path(part["path"]).stem), part) for part in parts)
    return replace(_recipe(path, path.stem, content), sources=found)


_OF_TABLES = ("source", "mirrors")
"""Keys whose lists hold tables, not texts."""


def _check(path: Path, content: object, known: Mapping[str, type]) -> None:
    if not isinstance(content, dict):
        raise SourceError(f"The recipe {path}: source = {content!r} should be a [[source]] table.")
    for key, value in content.items():
        if key not in known:
            raise SourceError(f"The recipe {path} has no key {key!r}. Known: {', '.join(known)}.")
        if not isinstance(value, known[key]):
            raise SourceError(
                f"The recipe {path}: {key} = {value!r} should be a {known[key].__name__}."
            )
        inside = (
            value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        )
        if key not in _OF_TABLES and not all(isinstance(text, str) for text in inside):
            raise SourceError(f"The recipe {path}: {key} = {value!r} should hold texts only.")


def _recipe(path: Path, name: str, content: dict[str, Any]) -> Recipe:
    beside: dict[str, Any] = {
        key: _located(path, content.pop(key)) for key in ("path", "photos") if key in content
    }
    beside |= {key: tuple(content.pop(key)) for key in ("licenses", "split") if key in content}
    return replace(Recipe(name, **content), **beside)


def _located(recipe: Path, name: str) -> Path:
    """A path beside the recipe, or "package:path" inside an installed package.

    Raises MissingPackage.
    """
    package, colon, inside = name.partition(":")
    if not colon or not package.isidentifier() or (recipe.parent / name).exists():
        return recipe.parent / name
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingPackage(
            f"The recipe {recipe} needs the package {package}: pip install {package}"
        )
    return Path(found.submodule_search_locations[0]) / inside
