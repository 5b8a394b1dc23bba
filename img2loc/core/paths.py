"""Finds prompts/, index/ and eval/: beside the package in a checkout, inside it in a wheel; and where users' own things lie."""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def folder(name: str) -> Path:
    """The data folder of that name ("prompts", "index" or "eval")."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_assets" / name
    return shipped if shipped.is_dir() else package.parent / name


def galleries() -> Path:
    """Where galleries that are built by name are kept: $IMG2LOC_HOME/galleries, else the user's data folder."""
    return _home(user_data_path("img2loc")) / "galleries"


def replies() -> Path:
    """The file of the reply cache: $IMG2LOC_HOME/replies.sqlite, else in the user's cache folder."""
    return _home(user_cache_path("img2loc")) / "replies.sqlite"


def features() -> Path:
    """Where image features that trainings share are kept: $IMG2LOC_HOME/features, else in the user's cache folder."""
    return _home(user_cache_path("img2loc")) / "features"


def catalogues() -> Path:
    """Where it is kept what lies in which archive: $IMG2LOC_HOME/catalogues, else in the user's cache folder."""
    return _home(user_cache_path("img2loc")) / "catalogues"


def _home(usual: Path) -> Path:
    home = os.environ.get("IMG2LOC_HOME")
    return Path(home).expanduser() if home else usual
