"""Where prompts/, index/ and eval/ lie, in a checkout or a wheel, and where a user's data goes.

A user's data is below $IMG2LOC_HOME where that is set, else in the system's folder.
"""

import os
from pathlib import Path

from platformdirs import user_cache_path, user_data_path


def folder(name: str) -> Path:
    """The data folder of that name ("prompts", "index" or "eval")."""
    package = Path(__file__).resolve().parents[1]
    shipped = package / "_assets" / name
    return shipped if shipped.is_dir() else package.parent / name


def galleries() -> Path:
    """Galleries that are built by name."""
    return _home(user_data_path("img2loc")) / "galleries"


def benchmarks() -> Path:
    """Truth files and photographs of benchmarks, by name."""
    return _home(user_data_path("img2loc")) / "benchmarks"


def replies() -> Path:
    """The file of the reply cache."""
    return _home(user_cache_path("img2loc")) / "replies.sqlite"


def features() -> Path:
    """Image features, shared by trainings."""
    return _home(user_cache_path("img2loc")) / "features"


def catalogues() -> Path:
    """The lists of what lies in which archive."""
    return _home(user_cache_path("img2loc")) / "catalogues"


def _home(default: Path) -> Path:
    home = os.environ.get("IMG2LOC_HOME")
    return Path(home).expanduser() if home else default
