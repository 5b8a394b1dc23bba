"""The way in from Python."""

from collections.abc import Iterable
from pathlib import Path

from img2loc.config import factory, gallery_builder, registry
from img2loc.config.config import Config
from img2loc.config.gallery_builder import Progress, silent
from img2loc.core.protocols import Encoder, Locator
from img2loc.gallery.gallery import Gallery

PathLike = str | Path


def load(
    name: str = "auto",
    *,
    gallery: PathLike | None = None,
    lmm: str | None = None,
    k: int | None = None,
    config: PathLike | None = None,
) -> Locator:
    """A locator, ready to `locate` photographs (paths or Photos; one Guess each, lazily, in order).

    `name` is that of a [locator.*] table, or "auto" for what a plain `img2loc ask` would use.
    `gallery` is a name or a folder, `lmm` the name of an [lmm.*] table, `k` the number of nearest
    and of farthest neighbours that the locator searches. `config` is a TOML file in place of the
    user's own: the one that IMG2LOC_CONFIG names, else img2loc.toml in the user's configuration
    folder. Raises Img2LocError, with what to do, for anything that is not there.
    """
    chosen = None if name == "auto" else name
    named = None if gallery is None else str(gallery)
    return factory.locator(factory.plan_for(_settings(config), chosen, gallery=named, lmm=lmm, k=k))


def load_encoder(name: str, *, config: PathLike | None = None) -> Encoder:
    """The encoder [encoder.NAME], which has `encode` and may have `encode_points`, `encode_texts`.

    `config` is as in `load`. Raises Img2LocError, with what to do, for anything that is not there;
    where `encode_points` needs no image tower, its weights are wanted at the first `encode` only.
    """
    return factory.encoder(_settings(config), name, deferred=True)


def build_gallery(
    source: PathLike,
    out: PathLike | None = None,
    *,
    encoder: str | None = None,
    spec: str | None = None,
    of: str | None = None,
    path: PathLike | None = None,
    photos: PathLike | None = None,
    licenses: Iterable[str] = (),
    device: str | None = None,
    config: PathLike | None = None,
    progress: Progress = silent,
) -> Gallery:
    """Build a gallery as `img2loc index build` does, or resume an interrupted build, and open it.

    `source` is a CSV or Parquet file, a folder of photographs or archives, or a recipe by name or
    file; `out` a folder, by default the user's data folder under the recipe's name. What is None or
    empty is as the recipe says: `encoder` the name of an [encoder.*] table, `spec` a FAISS factory
    string, `of` "photos", "points" or "texts", `path` the recipe's table or folder, `photos` the
    folder of a table's photographs, `licenses` phrases of which a row's license must have one.
    `device` is where the encoder computes. `progress` is called with the entries done and their
    total. `config` is as in `load`. Raises Img2LocError, with what to do.
    """
    if isinstance(licenses, str):
        raise TypeError(f"licenses come as a list or another iterable: [{licenses!r}]")
    settings = _settings(config)
    recipe = gallery_builder.recipe_of(
        settings,
        source,
        encoder=encoder,
        spec=spec,
        of=of,
        path=path and Path(path),
        photos=photos and Path(photos),
        licenses=tuple(licenses),
    )
    folder = None if out is None else Path(out)
    return gallery_builder.build(settings, recipe, folder, device=device, progress=progress)


def _settings(config: PathLike | None) -> Config:
    settings = Config.load(Path(config) if config is not None else None)
    registry.check(settings)
    return settings
