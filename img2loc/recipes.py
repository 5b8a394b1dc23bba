"""A gallery recipe, a TOML file, a CSV or a folder, by whatever name → what to build a gallery from, and with what."""

import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from img2loc import assets
from img2loc.errors import SourceError, UnknownName
from img2loc.sources import Source, open_source


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a gallery is made. `path` is its CSV or folder, `photos` where a CSV's photographs lie."""

    name: str
    description: str = ""
    terms: str = ""
    obtain: str = ""
    encoder: str = "lite0"
    spec: str = "auto"
    path: Path | None = None
    photos: Path | None = None
    columns: dict[str, str] = field(default_factory=dict)
    licences: tuple[str, ...] = ()

    def source(self) -> Source:
        """Its photographs. Raises SourceError, saying what to get where, when the recipe does not know where they lie."""
        if self.path is None:
            raise SourceError(
                f"The recipe {self.name!r} needs your copy of its photographs. {self.obtain} "
                f"Then: img2loc index build {self.name} --source FILE.csv --photos FOLDER"
            )
        return open_source(self.path, self.photos, self.columns, self.licences)


_TYPES: dict[str, type] = {
    **dict.fromkeys(("description", "terms", "obtain", "encoder", "spec", "path", "photos"), str),
    "columns": dict,
    "licences": list,
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
    beside = {key: path.parent / content.pop(key) for key in ("path", "photos") if key in content}
    licences = tuple(content.pop("licences", ()))
    return replace(Recipe(path.stem, **content), **beside, licences=licences)
