"""Names of recipes, encoders and galleries → galleries that are built, extended or imported."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from img2loc.config import factory, galleries
from img2loc.config.config import Config
from img2loc.config.row_calibration import calibrate_if_cheap
from img2loc.core import paths
from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.protocols import Encoder, Source
from img2loc.data.recipes import Recipe
from img2loc.gallery.build import append, import_embeddings, pipeline
from img2loc.gallery.build.embed_parts import Part, embed_part
from img2loc.gallery.gallery import Gallery

Progress = Callable[[int, int], None]
"""Called with the entries done and their total."""


def silent(done: int, total: int) -> None:
    """No progress shown."""


def recipe_of(config: Config, source: str | Path, **options: Any) -> Recipe:
    """The recipe that a name, file or folder stands for; options replace its own if not empty."""
    chosen = {key: value for key, value in options.items() if value}
    return replace(galleries.recipe(config, str(source)), **chosen)


def build(
    config: Config,
    recipe: Recipe,
    out: Path | None = None,
    *,
    device: str | None = None,
    progress: Progress = silent,
) -> Gallery:
    """Build a recipe's gallery in `out`, by default the user's data folder, or resume there.

    It is calibrated on its own rows where that costs little beside the build.
    """
    begun = time.monotonic()
    source, encoder, options = _inputs(config, recipe, device, progress)
    built = pipeline.build(source, encoder, out or paths.galleries() / recipe.name, **options)
    calibrate_if_cheap(config, built, time.monotonic() - begun)
    return built


def embed(
    config: Config,
    recipe: Recipe,
    out: Path | None,
    part: str,
    *,
    device: str | None = None,
    progress: Progress = silent,
) -> int:
    """Only embed the part "I/N" of a recipe, for `merge`; returns its number of shards."""
    share = Part.parse(part)
    if out is None:
        raise ConfigError("A part needs a folder of its own: say which with --out.")
    source, encoder, options = _inputs(config, recipe, device, progress)
    return embed_part(source, encoder, out, share, **options)


def add(
    config: Config,
    gallery: str,
    recipe: Recipe,
    *,
    device: str | None = None,
    progress: Progress = silent,
) -> Gallery:
    """Add a recipe's photographs to a gallery by its own encoder; ids that it has are skipped."""
    if recipe.of != "photos":
        raise GalleryError(
            f"The recipe {recipe.name!r} is of {recipe.of}, and only photos can be added. Build"
            " another gallery of them."
        )
    source = recipe.source()
    folder = galleries.gallery_folder(config, gallery)
    alias = str(append.stamp_of(folder).get("alias"))
    if not config.has("encoder", alias):
        raise GalleryError(
            f"{folder} was built by [encoder.{alias}], which your configuration does not have. Put"
            " it there."
        )
    advance = _advance(progress, len(source))
    encoder = factory.encoder(config, alias, device)
    return append.add(source, encoder, folder, name=recipe.name, progress=advance)


def import_(
    config: Config,
    embeddings: Path,
    encoder: str,
    out: Path,
    *,
    photos: Path | None = None,
    places: Path | None = None,
    spec: str = "auto",
    progress: Progress = silent,
) -> Gallery:
    """A gallery from embeddings in clip-retrieval's layout, checked on the `photos` of some."""
    source = import_embeddings.EmbeddingFolder(embeddings, places)
    advance = _advance(progress, len(source))
    loaded = factory.encoder(config, encoder)
    check = import_embeddings.check(source, loaded, photos) if photos else None
    stamp: dict[str, Any] = {"alias": encoder, "table": config.table("encoder", encoder)}
    return import_embeddings.build(
        source, loaded, out, **stamp, spec=spec, check=check, progress=advance
    )


def _inputs(
    config: Config, recipe: Recipe, device: str | None, progress: Progress
) -> tuple[Source, Encoder, dict[str, Any]]:
    source = recipe.source()
    advance = _advance(progress, len(source))
    options = {
        "alias": recipe.encoder,
        "table": config.table("encoder", recipe.encoder),
        "of": recipe.of,
        "spec": recipe.spec,
        "about": {"description": recipe.description, "terms": recipe.terms},
        "progress": advance,
    }
    encoder = factory.encoder(config, recipe.encoder, device, deferred=recipe.of == "points")
    return source, encoder, options


def _advance(progress: Progress, total: int) -> Callable[[int], None]:
    """Progress over a total, shown from here on: an encoder takes seconds to load."""
    progress(0, total)
    return lambda done: progress(done, total)
