"""What this machine has: versions, devices, keys (never their values), weights, galleries."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from img2loc.config import galleries
from img2loc.config.config import Config, user_file
from img2loc.config.requirements import needs, weights_needs
from img2loc.core import paths
from img2loc.core.errors import Img2LocError, MissingPackage, first_line
from img2loc.core.images import HEIC_READABLE

_MODELS = ("torch", "torchvision", "transformers", "open_clip_torch", "timm", "geoclip")
_BASE = ("faiss-cpu", "onnxruntime", "openai", "numpy", "pillow")
_PACKAGES = ("img2loc", *_MODELS, "langchain", *_BASE)
_SHOWN = ("OPENAI_BASE_URL", "HF_HOME", "HF_HUB_OFFLINE", "IMG2LOC_HOME", "IMG2LOC_CONFIG")


Sections = list[tuple[str, list[str]]]
"""Titles, each with its lines."""


def summary(config: Config) -> Sections:
    """What can run now, then each thing that is lacking with the locators that wait for it."""
    ready: list[str] = []
    waiting: dict[str, list[str]] = {}
    for name in config.names("locator"):
        try:
            remedies = [need.remedy for need in needs(config, name) if not need.ready]
        except MissingPackage as error:
            remedies = [error.remedy]
        except Img2LocError as error:
            remedies = [str(error)]
        if not remedies:
            ready.append(name)
        for remedy in remedies[:1]:  # The rest can be got after it.
            waiting.setdefault(remedy, []).append(name)
    opened = (_gallery(config, name) for name in galleries.known_galleries(config))
    lacking = [f"{', '.join(names)}: {remedy}" for remedy, names in waiting.items()]
    return [
        ("works now", [f"locators: {', '.join(ready) or 'none'}", *opened]),
        ("lacking", lacking or ["nothing"]),
    ]


def report(config: Config) -> Sections:
    """All of it: versions, the machine, the environment, and each part by name."""
    return [
        ("versions", _versions()),
        ("machine", _machine()),
        ("environment", _environment(config)),
        ("encoders", [_encoder(config, name) for name in config.names("encoder")]),
        ("galleries", [_gallery(config, name) for name in galleries.known_galleries(config)]),
        (
            "locators",
            [line for name in config.names("locator") for line in _locator(config, name)],
        ),
    ]


def versions() -> dict[str, str]:
    """The versions of Python and of the installed packages that decide a result."""
    installed = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def _versions() -> list[str]:
    installed = versions()
    lines = [
        f"{package} {installed.get(package, 'is not installed')}"
        for package in ("python", *_PACKAGES)
    ]
    lines.append(
        f"HEIC photos: {'readable' if HEIC_READABLE else 'not readable; pip install pillow-heif'}"
    )
    if {"torch", "torchvision"} <= installed.keys():
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError) as error:
            lines.append(
                f"torchvision does not fit torch ({first_line(error)}). Reinstall both from one"
                " index: pip install --force-reinstall torch torchvision"
            )
    return lines


def _machine() -> list[str]:
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    try:
        import torch
    except ModuleNotFoundError:
        return [f"{system}; without torch, models run on the processor by onnxruntime"]

    from img2loc.core.devices import resolve_device, resolve_dtype

    device = resolve_device("auto")
    gpus = [
        f"cuda:{number} {torch.cuda.get_device_name(number)}"
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    ]
    return [
        f"{system}, {torch.get_num_threads()} threads for torch",
        *(gpus or ["mps: Apple's GPU" if device == "mps" else "no GPU"]),
        f"auto means {device}, {str(resolve_dtype('auto', device)).removeprefix('torch.')}",
    ]


def _environment(config: Config) -> list[str]:
    expected = user_file() or "in a home folder, which is not known"
    return [
        *(
            f"{name} is {'set' if os.environ.get(name) else 'not set'}"
            for name in ("OPENAI_API_KEY", "HF_TOKEN")
        ),
        *(f"{name} = {os.environ.get(name) or 'not set'}" for name in _SHOWN),
        f"configuration: {config.file or f'the defaults alone; yours would be {expected}'}",
        f"galleries are kept in {paths.galleries()}",
    ]


def _encoder(config: Config, name: str) -> str:
    try:
        missing = [need for need in weights_needs(config, name) if not need.ready]
        points = all(need.ready for need in weights_needs(config, name, "points"))
    except Img2LocError as error:
        return f"{name}: {error}"
    if not missing:
        return f"{name}: can run now"
    facts = "; ".join(
        ", ".join(filter(None, (need.size, need.license))) or "size unknown" for need in missing
    )
    able = "can embed points now; for photos, " if points else ""
    return f"{name}: {able}weights not here ({facts}): {missing[0].remedy}"


def _gallery(config: Config, name: str) -> str:
    try:
        gallery = galleries.open_gallery(config, name)
    except Img2LocError as error:
        return f"{name}: {error}"
    return (
        f"{name}: {len(gallery):,} rows, {len(gallery.countries)} countries, encoder"
        f" {gallery.encoder_name}"
    )


def _locator(config: Config, name: str) -> Iterator[str]:
    try:
        missing = [need for need in needs(config, name) if not need.ready]
    except Img2LocError as error:
        yield f"{name}: {error}"
        return
    yield f"{name}: {'lacks' if missing else 'can run now'}"
    yield from (f"  {need.what}: {need.remedy}" for need in missing)
