"""What the base installation does not bring: which extra of img2loc brings which package."""

from importlib.util import find_spec

from img2loc.core.errors import MissingPackage

_EXTRAS = {
    **dict.fromkeys(("torch", "torchvision", "transformers", "open_clip", "timm"), "models"),
    **dict.fromkeys(("accelerate", "geoclip", "onnx", "onnxscript"), "models"),
    "langchain": "langchain",
    "pillow_heif": "heic",
}


def require(what: str, *modules: str) -> None:
    """Raise MissingPackage for `what` needs these modules, unless they are here; none is imported.

    `what` is a command, a table or a class.
    """
    for module in modules:
        if find_spec(module) is None:
            raise missing(what, module)


def missing(what: str, module: str) -> MissingPackage:
    """The error for a module that `what` needs, with the command that installs it."""
    top = module.partition(".")[0]
    package = f"'img2loc[{_EXTRAS[top]}]'" if top in _EXTRAS else top.replace("_", "-")
    return MissingPackage(f"{what} needs {top}, which is not installed", f"pip install {package}")
