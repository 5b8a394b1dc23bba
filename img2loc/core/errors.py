"""The errors that a user can mend, as one tree; each message says what is wrong and what to do.

Img2LocError                the command line prints its message, and no traceback
├─ ConfigError              a table or key of the configuration
│  └─ UnknownName           no locator, encoder, gallery, LMM or prompt of that name
├─ MissingPackage           an optional package is not installed
├─ MissingWeights           a model's weights are not on this machine
├─ SourceError              a CSV, folder or recipe cannot be read as photographs with coordinates
├─ GalleryError             a gallery is missing, half-written, of another format, or misused
│  └─ WrongEncoder          a query by another encoder than the gallery's
├─ PromptError              a template and the values that it gets do not fit
├─ BackendError             an LMM refuses to work at all: bad key, unknown model, no credit left
├─ RunError                 the folder of a benchmark run is missing, another run's, or in use
└─ UnreadablePhoto          a photograph that cannot be decoded (locators turn it into a status)
"""

from collections.abc import Iterable


class Img2LocError(Exception):
    """Base of every error that a user can mend."""


class ConfigError(Img2LocError):
    """A table or key of the configuration is wrong."""


class UnknownName(ConfigError):
    """A name that no table has."""

    def __init__(self, role: str, name: str, known: Iterable[str]) -> None:
        self.role, self.name, self.known = role, name, sorted(known)
        shown = "LMM" if role == "lmm" else role
        super().__init__(
            f"There is no {shown} named {name!r}. Known: {', '.join(self.known) or 'none'}."
        )


class MissingPackage(Img2LocError):
    """An optional package is not installed; `remedy` is the command that installs it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(f"{message}: {remedy}" if remedy else message)


class MissingWeights(Img2LocError):
    """A model's weights are not on this machine."""


class SourceError(Img2LocError):
    """A source of photographs cannot be read."""


class GalleryError(Img2LocError):
    """A gallery is missing, half-written or misused."""


class WrongEncoder(GalleryError):
    """A query by another encoder than the one that built the gallery."""


class PromptError(Img2LocError):
    """A template and the values that it gets do not fit."""


class BackendError(Img2LocError):
    """An LMM that will answer no photograph at all."""


class RunError(Img2LocError):
    """The folder of a benchmark run is missing, half-written, another run's, or in use."""


class UnreadablePhoto(Img2LocError):
    """A photograph that cannot be decoded."""


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
