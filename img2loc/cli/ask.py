"""`img2loc ask`: photographs in, answers out as they come."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from img2loc.build import Built
    from img2loc.config import Config
    from img2loc.types import Photo


def ask(
    photos: Annotated[
        list[Path],
        typer.Argument(
            metavar="PHOTO",
            help="Files, folders, or - for one photo on standard input.",
            show_default=False,
        ),
    ],
    locator: Annotated[str | None, typer.Option(metavar="NAME", help="How to decide: a [locator.NAME] table.")] = None,
    lmm: Annotated[str | None, typer.Option(metavar="NAME", help="Which model to ask: an [lmm.NAME] table.")] = None,
    gallery: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Which gallery to search; it brings its encoder.")
    ] = None,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Configuration in place of ./img2loc.toml.")] = None,
    k: Annotated[int | None, typer.Option("-k", metavar="N", min=1, help="How many neighbours at each end.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a photo, one a line.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show the neighbours, the prompt and the reply.")] = False,
) -> int:
    """Say where photos were taken.

    Without options it uses the largest gallery of your own whose model can run here, else the starter gallery, and lets an LMM
    decide if OPENAI_API_KEY or OPENAI_BASE_URL is set.
    """
    from img2loc import build
    from img2loc.cli import render
    from img2loc.config import Config

    settings = Config.load(config)
    build.check(settings)
    name = locator or build.default_locator(settings)[0]
    build.override(settings, name, gallery=gallery, lmm=lmm, k=k)
    with render.waiting(f"Loading the locator {name} …"):
        built = build.locator(settings, name)
    _announce(settings, built, chosen=locator is not None, gallery_chosen=gallery is not None)
    missed = 0
    listed = list(_listed(photos))
    with render.progress(len(listed), "photos", show=len(listed) > 1 and not sys.stdout.isatty()) as advance:
        for done, guess in enumerate(built.locator.locate(listed), 1):
            missed += guess.location is None
            print(
                render.as_json(guess, built) if as_json else render.for_people(guess, built, explain),
                flush=True,
            )
            advance(done)
    return 3 if missed else 0


def _listed(paths: list[Path]) -> "Iterator[Photo]":
    from img2loc.errors import SourceError
    from img2loc.sources import photo_files
    from img2loc.types import Photo

    for path in paths:
        if str(path) == "-":
            yield Photo(path, sys.stdin.buffer.read())
        elif path.is_dir():
            files = photo_files(path)
            if not files:
                raise SourceError(f"The folder {path} holds no photographs.")
            yield from map(Photo, files)
        else:
            yield Photo(path)


def _announce(config: "Config", built: "Built", chosen: bool, gallery_chosen: bool) -> None:
    """Say on stderr what was chosen for the user, where they did not choose it."""
    from img2loc import build

    if built.gallery == build.STARTER and not gallery_chosen:
        typer.echo(
            f"Searching the starter gallery: only {built.rows} photos of a few places; most photos lie outside it.\n"
            "For world-wide answers: `img2loc setup img2loc` says what to fetch; or `img2loc index build` on photos of yours.",
            err=True,
        )
    elif not chosen:
        searched = f"the gallery {built.gallery} ({built.rows:,} photos)" if built.gallery else "no gallery"
        asked = config.table("locator", built.name).get("lmm")
        typer.echo(f"Using {built.name}: {searched}{f', lmm {asked}' if asked else ''}.", err=True)
