"""The way in from Python."""

from pathlib import Path

from img2loc.config import factory, registry
from img2loc.config.config import Config
from img2loc.core.protocols import Encoder, Locator


def load(
    name: str = "auto",
    *,
    gallery: str | Path | None = None,
    lmm: str | None = None,
    k: int | None = None,
    config: str | Path | None = None,
) -> Locator:
    """A locator, ready to `locate` photographs (paths or Photos; one Guess each, lazily, in order).

    `name` is that of a [locator.*] table, or "auto" for what a plain `img2loc ask` would use.
    `gallery` is a name or a folder, `lmm` the name of an [lmm.*] table, `k` the number of
    neighbours at each end that the locator searches. `config` is a TOML file in place of the user's
    own: the one that IMG2LOC_CONFIG names, else img2loc.toml in the user's configuration folder.
    Raises Img2LocError, with what to do, for anything that is not there.
    """
    settings = Config.load(Path(config) if config is not None else None)
    registry.check(settings)
    plan = factory.plan_for(
        settings,
        None if name == "auto" else name,
        gallery=None if gallery is None else str(gallery),
        lmm=lmm,
        k=k,
    )
    return factory.locator(plan)


def load_encoder(name: str, *, config: str | Path | None = None) -> Encoder:
    """The encoder [encoder.NAME]: `encode` for photographs, and `encode_points` or `encode_texts` where it has these towers.

    `config` is a TOML file in place of the user's own. Raises Img2LocError, with what to do, for
    anything that is not there.
    """
    settings = Config.load(Path(config) if config is not None else None)
    registry.check(settings)
    return factory.encoder(settings, name)
