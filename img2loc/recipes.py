"""A gallery recipe, a TOML file, a CSV or a folder, by whatever name → what to build a gallery from, and with what."""

import tomllib
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from img2loc import assets
from img2loc.captions import CaptionSource
from img2loc.errors import MissingPackage, SourceError, UnknownName
from img2loc.sources import GridSource, PointsSource, Source, open_source

KINDS = ("photos", "points", "texts")
"""What a gallery can be of."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a gallery is made. `path` is its CSV or folder, `photos` where a CSV's photographs lie; `of` what of it is embedded.

    A gallery of points may be a `sample` of its CSV's rows, or a `grid` of so many points in place of a CSV. A gallery of texts
    fills a `template` with the places of a list: at the `level` country or city, the `most` populous cities of each country,
    the countries in `split` taken region by region.
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
    licences: tuple[str, ...] = ()
    template: str = ""
    level: str = "city"
    most: int = 30
    split: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.of not in KINDS:
            raise SourceError(f"The recipe {self.name!r} is of {self.of!r}; a gallery is of {', '.join(KINDS)}.")

    @property
    def is_whole(self) -> bool:
        """Whether it knows where its entries lie, so that nobody need bring any."""
        return self.path is not None or self.grid is not None

    def source(self) -> Source:
        """Its photographs. Raises SourceError, saying what to get where, when the recipe does not know where they lie."""
        if self.grid is not None:
            return GridSource(self.grid)
        if self.path is None:
            raise SourceError(
                f"The recipe {self.name!r} needs your copy of its photographs. {self.obtain} "
                f"Then: img2loc index build {self.name} --source FILE.csv --photos FOLDER"
            )
        if self.of == "texts":
            return CaptionSource(self.path, self.template, self.level, self.most, self.split)
        if self.of == "points":
            return PointsSource(self.path, self.columns, self.sample)
        return open_source(self.path, self.photos, self.columns, self.licences)


_TYPES: dict[str, type] = {
    **dict.fromkeys(("description", "terms", "obtain", "encoder", "spec", "of", "path", "photos", "template", "level"), str),
    **dict.fromkeys(("grid", "sample", "most"), int),
    "columns": dict,
    "licences": list,
    "split": list,
}


def find(name: str) -> Recipe:
    """The recipe that a name, a TOML file, a CSV or a folder stands for. Raises SourceError or UnknownName."""
    path = Path(name)
    if path.suffix == ".toml":
        return _read(path)
    if path.exists():
        return Recipe(path.resolve().stem or "gallery", path=path)
    shipped = assets.folder("index") / f"{name}.toml"
    if shipped.is_file():
        return _read(shipped)
    if "/" in name or path.suffix:
        raise SourceError(
            f"There is no file or folder {name}. Name a CSV, a folder of geotagged photos, or a recipe: {', '.join(known())}."
        )
    raise UnknownName("recipe, file or folder", name, known())


def known() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(path.stem for path in assets.folder("index").glob("*.toml"))


def _read(path: Path) -> Recipe:
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceError(f"There is no recipe {path}.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"The recipe {path} cannot be read: {error}.") from error
    for key, value in content.items():
        if key not in _TYPES:
            raise SourceError(f"The recipe {path} has no key {key!r}. Known: {', '.join(_TYPES)}.")
        if not isinstance(value, _TYPES[key]):
            raise SourceError(f"The recipe {path}: {key} = {value!r} should be a {_TYPES[key].__name__}.")
    beside: dict[str, Any] = {key: _located(path, content.pop(key)) for key in ("path", "photos") if key in content}
    beside |= {key: tuple(content.pop(key)) for key in ("licences", "split") if key in content}
    return replace(Recipe(path.stem, **content), **beside)


def _located(recipe: Path, name: str) -> Path:
    """A path beside the recipe, or "package:path" inside an installed package. Raises MissingPackage."""
    package, colon, inside = name.partition(":")
    if not colon:
        return recipe.parent / name
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise MissingPackage(f"The recipe {recipe} needs the package {package}: pip install {package}")
    return Path(found.submodule_search_locations[0]) / inside
