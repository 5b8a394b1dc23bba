"""TOML files → tables `[role.name]`: the user's over the defaults, each key with its origin."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from platformdirs import user_config_path

from img2loc.core.american_spelling import american
from img2loc.core.errors import ConfigError, UnknownName

DEFAULTS = Path(__file__).with_name("defaults.toml")
USER_FILE = "img2loc.toml"
ROLES = (
    *("encoder", "lmm", "locator", "reproduction", "train", "gallery"),
    *("setup", "price", "download"),
)
_ASK_KEYS: dict[str, tuple[type, ...]] = {
    "locator": (str,),
    "max_radius_km": (int, float),
    "radius_share": (int, float),
}
_PATH_KEYS = ("path", "photos", "run", "folder", "calibration")
_GALLERY_KEYS = ("gallery", "countries", "cities")
_FILE_TYPES = (".bin", ".csv", ".jsonl", ".parquet", ".pt", ".pth", ".safetensors", ".toml", ".txt")
_LOCAL_FOLDER = "local-dir:"
"""What timm and open_clip write before a model's folder."""

Table = dict[str, Any]


class Config:
    """The resolved tables, the origin of each of their keys, and the user's `file`, if any."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, Table]] = {role: {} for role in ROLES}
        self._origins: dict[tuple[str, str, str], str] = {}
        self.ask: Table = {}
        self.file: Path | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The defaults with the user's file merged over them: `path`, else that of `file_in_use`.

        Raises ConfigError, naming the table and the known keys.
        """
        config = cls.shipped()
        config.file = file_in_use(path)
        if config.file is not None:
            config._merge(_beside(config.file, _read(config.file)), str(config.file))
        return config

    @classmethod
    def shipped(cls) -> Self:
        """The defaults alone."""
        config = cls()
        config._merge(_read(DEFAULTS), "defaults")
        return config

    def names(self, role: str) -> list[str]:
        """The names of a role's tables."""
        return sorted(self._tables[role])

    def has(self, role: str, name: str) -> bool:
        """Whether there is a table [role.name]."""
        return name in self._tables[role]

    def table(self, role: str, name: str) -> Table:
        """A copy of the table [role.name]. Raises UnknownName."""
        if name not in self._tables[role]:
            raise UnknownName(role, name, self.names(role))
        return dict(self._tables[role][name])

    def find(self, role: str, name: str) -> Table:
        """A copy of the table [role.name], empty where there is none."""
        return dict(self._tables[role].get(name, {}))

    def override(self, role: str, name: str, values: Mapping[str, Any], origin: str) -> None:
        """Merge values over one table."""
        ours = role in ("train", "download")  # Other tables are arguments of anybody's class.
        for key, value in (american(dict(values)) if ours else values).items():
            self._tables[role].setdefault(name, {})[key] = value
            self._origins[role, name, key] = origin

    def remove(self, role: str, name: str, key: str) -> None:
        """Take a key out of one table."""
        self._tables[role][name].pop(key, None)

    def user_tables(self) -> list[tuple[str, str]]:
        """The (role, name) of every table in which a key is not from the defaults."""
        changed = {key[:2] for key, origin in self._origins.items() if origin != "defaults"}
        return sorted(changed)

    def origin(self, role: str, name: str, key: str) -> str:
        """Where a key's value is from: "defaults", a file, or "command line"."""
        return self._origins[role, name, key]

    def _merge(self, content: Mapping[str, Any], origin: str) -> None:
        for role, tables in content.items():
            if role == "ask":
                self._merge_ask(tables, origin)
                continue
            if role not in ROLES:
                known = ", ".join(("ask", *ROLES))
                raise ConfigError(f"{origin}: there is no role [{role}]. Known: {known}.")
            if not _holds_tables(tables):
                raise ConfigError(
                    f"{origin}: [{role}] must hold named tables, such as [{role}.mine]."
                )
            for name, table in tables.items():
                before = self._tables[role].get(name, {}).get("kind")
                if table.get("kind", before) != before:
                    self._tables[role][name] = {}  # Another kind has other keys.
                self.override(role, name, table, origin)

    def _merge_ask(self, table: Any, origin: str) -> None:
        entries: dict[str, Any] = table if isinstance(table, dict) else {"ask": table}
        for key, value in entries.items():
            if type(value) not in _ASK_KEYS.get(key, ()):
                raise ConfigError(
                    f"{origin}: [ask] has no key {key} of that form. Known: locator, a name;"
                    " max_radius_km and radius_share, numbers."
                )
            if key == "radius_share" and not 0 < value < 1:
                raise ConfigError(f"{origin}: [ask] radius_share = {value} is not between 0 and 1.")
            if key == "max_radius_km" and not value >= 0:
                raise ConfigError(f"{origin}: [ask] max_radius_km = {value} is no distance in km.")
            self.ask[key] = value


def _holds_tables(tables: Any) -> bool:
    return isinstance(tables, dict) and all(isinstance(table, dict) for table in tables.values())


def _beside(file: Path, content: Table) -> Table:
    """A file's content with the relative paths in its tables taken from the file's own folder.

    Left relative they would name what lies in the working directory, which may be other people's.
    """
    if file.parent == Path():
        return content
    return {
        role: {
            name: {key: _located(file.parent, key, value) for key, value in table.items()}
            for name, table in tables.items()
        }
        if _holds_tables(tables)
        else tables
        for role, tables in content.items()
    }


def _located(folder: Path, key: str, value: Any) -> Any:
    if not isinstance(value, str) or value.startswith("~"):
        return value
    path = value.removeprefix(_LOCAL_FOLDER)
    is_path = (
        key in _PATH_KEYS
        or path != value
        or path.startswith(("./", "../"))
        or Path(path).suffix in _FILE_TYPES
        or (key in _GALLERY_KEYS and "/" in path)
    )
    if not is_path:
        return value
    return value.removesuffix(path) + os.path.abspath(folder / path)  # noqa: PTH100 - links stay


def file_in_use(path: Path | None = None) -> Path | None:
    """The user's file: `path`, else IMG2LOC_CONFIG's, else one in the user's configuration folder.

    Never one that merely lies in the working directory, which may be other people's.
    """
    named = path or os.environ.get("IMG2LOC_CONFIG")
    if named:
        return Path(named).expanduser()
    default = user_file()
    return default if default is not None and os.path.lexists(default) else None


def user_file() -> Path | None:
    """The path of the user's own file; None where the user's home is not known."""
    try:
        folder = user_config_path("img2loc")
    except RuntimeError:
        return None
    # An older platformdirs gives a folder ~ in the working directory.
    return folder / USER_FILE if folder.is_absolute() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(
            f"There is no configuration file {path}. Create it, or name another by --config or"
            " IMG2LOC_CONFIG."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} cannot be read ({error}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}. Mend that line.") from error
