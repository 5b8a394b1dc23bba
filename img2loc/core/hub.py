"""Model weights on a hub: whether they are in the local cache, their size, and their download."""

import json
from dataclasses import dataclass
from pathlib import Path

from img2loc.core.errors import ConfigError, MissingWeights, first_line


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of one hub repository: the first of `weights` it has, and all that match `others`."""

    repo: str
    weights: tuple[str, ...]
    others: tuple[str, ...] = ()

    def cached(self) -> Path | None:
        """The weights file in the local cache, None where it or one of its shards is missing."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(self.repo, local_files_only=True))
        except LocalEntryNotFoundError:
            return None
        except HFValidationError as error:
            raise ConfigError(
                f"{self.repo!r} is not a repository's name ({first_line(error)}). Write org/name."
            ) from error
        return next((folder / name for name in self.weights if _is_whole(folder / name)), None)

    def require(self) -> Path:
        """The weights file in the local cache. Raises MissingWeights."""
        weights = self.cached()
        if weights is None:
            raise MissingWeights(
                f"The weights {self.repo} are not on this machine, or only in part. Get them: hf"
                f" download {self.repo}. Or name a local folder."
            )
        return weights

    def listing(self) -> tuple[list[str], int, str]:
        """Ask the hub: the files to fetch, their size in bytes, their license.

        Raises MissingWeights when it cannot be asked.
        """
        from fnmatch import fnmatch

        from httpx import HTTPError
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            info = HfApi().model_info(self.repo, files_metadata=True)
        except (HfHubHTTPError, OfflineModeIsEnabled, HTTPError, OSError) as error:
            raise MissingWeights(
                f"The hub cannot be asked for {self.repo} ({first_line(error)}). Check the network,"
                " HF_HUB_OFFLINE and HF_TOKEN; or copy the files from another machine and name"
                " their folder in the encoder's table."
            ) from error
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        weights = next((name for name in self.weights if name in sizes), None)
        if weights is None:
            raise MissingWeights(
                f"{self.repo} has none of {', '.join(self.weights)}. Check the name."
            )
        others = (name for name in sizes if any(fnmatch(name, glob) for glob in self.others))
        names = [weights, *others]
        license = str(getattr(info.card_data, "license", None) or "not stated")
        return names, sum(sizes[name] for name in names), license

    def fetch(self, names: list[str], bar: type | None = None) -> Path:
        """Download these files into the cache, or resume; `bar` is the class of tqdm to show."""
        from huggingface_hub import snapshot_download

        snapshot_download(self.repo, allow_patterns=names, tqdm_class=bar)
        return self.require()


def _is_whole(weights: Path) -> bool:
    """Whether a weights file exists, or, for an index of shards, every shard."""
    if not weights.name.endswith(".index.json"):
        return weights.exists()
    try:
        shards = json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values()
        return all((weights.parent / shard).exists() for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def folder_or_hub(model: str, weights: tuple[str, ...], others: tuple[str, ...]) -> HubFiles | None:
    """None for a model in a local folder, else what it takes from the hub.

    A folder is absolute or begins with "./" or "../": one in the working directory does not take
    the place of the model of that name. Raises ConfigError for what is neither.
    """
    named = Path(model).is_absolute() or model.startswith(("./", "../"))
    if named and Path(model).is_dir():
        return None
    if named or model.count("/") != 1 or model.startswith((".", "~")):
        hint = f" Write the folder as ./{model}." if not named and Path(model).is_dir() else ""
        raise ConfigError(f"{model!r} is neither a folder nor a hub id (org/name).{hint}")
    return HubFiles(model, weights, others)
