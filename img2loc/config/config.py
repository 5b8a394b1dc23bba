"""The configuration:

TOML tables `[role.name]`, the user's laid over the ones that ship, each key knowing where it is
from.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from platformdirs import user_config_path

from img2loc.core.errors import ConfigError, UnknownName
from img2loc.core.spelling import american

DEFAULTS = Path(__file__).with_name("defaults.toml")
USER_FILE = "img2loc.toml"
ROLES = ("encoder", "lmm", "locator", "train", "gallery", "setup", "price", "download")
_ASK_KEYS = ("locator",)

Table = dict[str, Any]


class Config:
    """The resolved tables. Values and their origins are kept side by side."""

    def __init__(
        self,
        tables: dict[str, dict[str, Table]],
        ask: Table,
        origins: dict[tuple[str, str, str], str],
    ) -> None:
        self._tables = tables
        self.ask = ask
        self._origins = origins
        self.file: Path | None = None

    @classmethod
    def load(cls, path: Path | None = None) -> Self:
        """The shipped tables with the user's over them: the file at `path`, else as `file_in_use` has it.

        Raises ConfigError, naming the table and the known keys, for what is no table of ours.
        """
        config = cls({role: {} for role in ROLES}, {}, {})
        config._lay(_read(DEFAULTS), "defaults")
        config.file = file_in_use(path)
        if config.file is not None:
            config._lay(_read(config.file), str(config.file))
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

    def override(self, role: str, name: str, values: Mapping[str, Any], origin: str) -> None:
        """Lay values over one table."""
        ours = role in ("train", "download")  # Other tables are arguments of anybody's class.
        for key, value in (american(dict(values)) if ours else values).items():
            self._tables[role].setdefault(name, {})[key] = value
            self._origins[role, name, key] = origin

    def remove(self, role: str, name: str, key: str) -> None:
        """Take a key out of one table."""
        self._tables[role][name].pop(key, None)

    def user_tables(self) -> list[tuple[str, str]]:
        """The (role, name) of every table in which a key is not from the defaults."""
        return sorted(
            {
                (role, name)
                for (role, name, _), origin in self._origins.items()
                if origin != "defaults"
            }
        )

    def origin(self, role: str, name: str, key: str) -> str:
        """Where a key's value is from: "defaults", a file, or "command line"."""
        return self._origins[role, name, key]

    def _lay(self, content: Mapping[str, Any], origin: str) -> None:
        for role, tables in content.items():
            if role == "ask":
                self._lay_ask(tables, origin)
                continue
            if role not in ROLES:
                raise ConfigError(
                    f"{origin}: there is no role [{role}]. Known: ask, {', '.join(ROLES)}."
                )
            if not isinstance(tables, dict) or not all(
                isinstance(table, dict) for table in tables.values()
            ):
                raise ConfigError(
                    f"{origin}: [{role}] must hold named tables, such as [{role}.mine]."
                )
            for name, table in tables.items():
                if table.get("kind", self._tables[role].get(name, {}).get("kind")) != self._tables[
                    role
                ].get(name, {}).get("kind"):
                    self._tables[role][name] = {}  # Another kind has other keys.
                self.override(role, name, table, origin)

    def _lay_ask(self, table: Any, origin: str) -> None:
        for key, value in table.items() if isinstance(table, dict) else [("ask", table)]:
            if key not in _ASK_KEYS or not isinstance(value, str):
                raise ConfigError(
                    f"{origin}: [ask] has no key {key} of that form. Known: {', '.join(_ASK_KEYS)},"
                    " each a name."
                )
            self.ask[key] = value


def file_in_use(path: Path | None = None) -> Path | None:
    """The user's file: `path`, else what IMG2LOC_CONFIG names, else the one in the user's configuration folder, if any.

    Never one that merely lies in the working directory: a folder of photographs may be other
    people's.
    """
    named = path or os.environ.get("IMG2LOC_CONFIG")
    if named:
        return Path(named).expanduser()
    usual = user_file()
    return usual if usual is not None and os.path.lexists(usual) else None


def user_file() -> Path | None:
    """Where the user's own file lies, if there is one; None where the user's home is not known."""
    try:
        folder = user_config_path("img2loc")
    except RuntimeError:
        return None
    return (
        folder / USER_FILE if folder.is_absolute() else None
    )  # Older platformdirs: a ~ in the working directory.


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
