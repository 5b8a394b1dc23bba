"""A recipe's name, a TOML file, a CSV or a folder → what to build a gallery from, and how."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from img2loc.core import extras, paths
from img2loc.core.american_spelling import american
from img2loc.core.errors import SourceError, UnknownName
from img2loc.core.protocols import Source

KINDS = ("photos", "points", "texts")
"""What a gallery's entries can be."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a gallery is built.

    `path` is its CSV or folder, `photos` where a CSV's photographs lie, `of` what is embedded.
    Points may be a `sample` of the CSV's rows, or a `grid` of so many points without a CSV. Texts
    are a `template` filled with the places of a list (`CaptionSource` has `level`, `most`, `split`
    and `only`). In a downloaded folder, `table` is the CSV, and `archives` the folder of the
    photographs, in archives or loose. `sources` are recipes whose photographs make one gallery.
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
    only: Path | None = None
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
        """Whether it says where its entries are, so that the user need not."""
        return self.path is not None or self.grid is not None or bool(self.sources)

    @property
    def command(self) -> str:
        """The command that builds it from the user's copy of its photographs."""
        place = "FOLDER" if self.table else "FILE.csv --photos FOLDER"
        return f"img2loc index build {self.name} --source {place}"

    def source(self) -> Source:
        """Its entries. Raises SourceError, with what to obtain where, if it has no path."""
        # Here, because a plain `ask` looks at recipes, and reads no source.
        from img2loc.data.captions import CaptionSource
        from img2loc.data.concat import Concat
        from img2loc.data.points import GridSource, PointsSource
        from img2loc.data.source_from_path import open_source

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
            return CaptionSource(
                self.path, self.template, self.level, self.most, self.split, self.only
            )
        if self.of == "points":
            return PointsSource(self.path, self.columns, self.sample)
        if self.table and self.path.is_dir():
            tables = (self.path / self.table, self.path / Path(self.table).name)
            table = next(filter(Path.exists, tables), None)
            if table is None:
                raise SourceError(
                    f"{self.path} has no {self.table}, the table of photographs. {self.obtain}"
                )
            photos = self.photos or self.path / self.archives
            return open_source(table, photos, self.columns, self.licenses)
        return open_source(self.path, self.photos, self.columns, self.licenses)


_TYPES: dict[str, type] = {
    **dict.fromkeys(("description", "terms", "obtain", "encoder", "spec", "of"), str),
    **dict.fromkeys(("path", "photos", "table", "archives", "template", "level", "only"), str),
    **dict.fromkeys(("grid", "sample", "most"), int),
    "columns": dict,
    **dict.fromkeys(("licenses", "split", "source"), list),
}
_OF_A_SOURCE = ("path", "photos", "table", "archives", "columns", "licenses")


def find(name: str) -> Recipe:
    """The recipe of a name, a TOML file, a CSV or a folder. Raises SourceError or UnknownName."""
    if not name:  # Path("") is the working directory.
        raise SourceError("The name of the source is empty. Name a file, a folder or a recipe.")
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
    """A TOML file's content, each key known and of its type.

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
            f"The recipe {path} has both a path and sources. Make the path a [[source]] too."
        )
    for part in parts:
        _check(path, part, {"name": str, **{key: _TYPES[key] for key in _OF_A_SOURCE}})
        if "path" not in part:
            raise SourceError(f"The recipe {path} has a [[source]] without a path.")
    sources = [_recipe(path, part.pop("name", Path(part["path"]).stem), part) for part in parts]
    return replace(_recipe(path, path.stem, content), sources=tuple(sources))


_LISTS_OF_TABLES = ("source", "mirrors")


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
        texts = list(value.values()) if isinstance(value, dict) else value
        mixed = isinstance(texts, list) and not all(isinstance(text, str) for text in texts)
        if mixed and key not in _LISTS_OF_TABLES:
            raise SourceError(f"The recipe {path}: {key} = {value!r} should hold texts only.")


def _recipe(path: Path, name: str, content: dict[str, Any]) -> Recipe:
    for key in ("path", "photos", "only"):
        if key in content:
            content[key] = _located(path, content[key])
    for key in ("licenses", "split"):
        content[key] = tuple(content.get(key, ()))
    return Recipe(name, **content)


def _located(recipe: Path, name: str) -> Path:
    """A path beside the recipe, or "package:path" inside an installed package.

    Raises MissingPackage.
    """
    package, colon, inside = name.partition(":")
    if not colon or not package.isidentifier() or (recipe.parent / name).exists():
        return recipe.parent / name
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise extras.missing(f"The recipe {recipe.stem}", package)
    return Path(spec.submodule_search_locations[0]) / inside
