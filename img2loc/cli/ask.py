"""`img2loc ask`: where photographs were taken, each answer printed as soon as it is known."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import GalleryName, LmmName, LocalOnly, LocatorName
from img2loc.cli.stdio import on_terminal, put

if TYPE_CHECKING:
    from img2loc.config.plan import Plan
    from img2loc.core.types import Photo

_PLACES, _ENTRIES_A_PLACE = 10, 50


def ask(
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTO",
            help="Files, folders, or - for a photo on standard input.",
            show_default=False,
        ),
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Locate a text, not photos; this needs a CLIP gallery."),
    ] = None,
    locator: LocatorName = None,
    lmm: LmmName = None,
    gallery: GalleryName = None,
    config: ConfigFile = None,
    k: Annotated[
        int | None,
        typer.Option("-k", metavar="N", min=1, help="Use the N nearest and the N farthest."),
    ] = None,
    max_radius: Annotated[
        float | None,
        typer.Option(metavar="KM", min=0, help="Give no answer of a larger radius."),
    ] = None,
    local_only: LocalOnly = False,
    cache: Annotated[
        bool, typer.Option("--cache", help="Store the LMM's replies, and use stored ones.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each photo.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the neighbours, the prompt and the reply.")
    ] = False,
) -> int:
    """Say where photos were taken.

    Without options it searches the largest of your own galleries whose encoder can run here, or
    else the starter gallery. If OPENAI_API_KEY or OPENAI_BASE_URL is set, an LMM decides.
    """
    from img2loc.cli import output
    from img2loc.cli.progress import progress, spinner
    from img2loc.config import factory
    from img2loc.core import paths

    if bool(photos) == (text is not None):
        raise typer.BadParameter(
            "Name photos, folders or - to ask about, or --text; not both.", param_hint="PHOTO"
        )
    if text is not None:
        only_photos = {
            "--lmm": lmm,
            "--max-radius": max_radius,
            "--local-only": local_only,
            "--cache": cache,
            "--explain": explain,
        }
        if not text.strip():
            raise typer.BadParameter("There are no words in it.", param_hint="--text")
        if given := [option for option, value in only_photos.items() if value]:
            raise typer.BadParameter(
                "It does not apply to --text. Leave it out.", param_hint=given[0]
            )
    listed = _listed(photos or [])
    settings = checked_config(config)
    named = locator or (factory.TEXTS if text else None)
    plan = factory.plan_for(settings, named, gallery=gallery, lmm=lmm, k=k)
    if text:
        return _rank(plan, text, k or _PLACES, as_json)
    if local_only:
        for planned in plan.lmms:
            planned.require_local()
    with spinner(f"Loading the locator {plan.locator} …"):
        built = factory.locator(
            plan,
            cache=paths.replies() if cache else None,
            max_radius_km=settings.ask.get("max_radius_km") if max_radius is None else max_radius,
        )
    _announce(plan, chosen=locator is not None, gallery_chosen=gallery is not None)
    missed = 0
    show = len(listed) > 1 and not on_terminal(sys.stdout)
    with progress("photos", len(listed), show) as advance:
        for done, guess in enumerate(built.locate(listed), 1):
            missed += guess.location is None
            as_text = (
                output.as_json(guess, plan) if as_json else output.for_people(guess, plan, explain)
            )
            if not put(as_text):
                return 0
            advance(done)
    return 3 if missed else 0


def _rank(plan: "Plan", text: str, k: int, as_json: bool) -> int:
    """Print the places that a text is most similar to."""
    from img2loc.cli import output
    from img2loc.cli.progress import spinner
    from img2loc.config import factory

    with spinner(f"Loading the locator {plan.locator} …"):
        search = factory.text_search(plan)
    (ranking,) = search.rank([text], k if as_json else k * _ENTRIES_A_PLACE)
    if as_json:
        put(output.ranking_as_json(ranking, plan))
    else:
        put(output.ranking_for_people(ranking, plan, k))
    return 0


def _listed(paths: list[Path]) -> "list[Photo]":
    """The photos in files, folders and standard input. Raises SourceError where there are none."""
    from img2loc.core.errors import SourceError
    from img2loc.core.types import Photo
    from img2loc.data.folder import photo_files

    photos: list[Photo] = []
    empty: list[str] = []
    for path in paths:
        if str(path) == "-":
            if sys.stdin is None:
                raise SourceError("There is no photo on standard input: it is closed. Name a file.")
            photos.append(Photo(path, sys.stdin.buffer.read()))
        elif os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
            files = photo_files(path)
            photos += map(Photo, files)
            empty += [] if files else [f"The folder {path} holds no photographs."]
        else:
            photos.append(Photo(path))
    if empty and not photos:
        raise SourceError(" ".join(empty))
    for line in empty:
        typer.echo(line, err=True)
    return photos


def _announce(plan: "Plan", chosen: bool, gallery_chosen: bool) -> None:
    """Say on stderr what was chosen for the user, and where their photos go."""
    from img2loc.config import galleries

    gallery = plan.gallery
    if gallery is not None and gallery.name == galleries.STARTER and not gallery_chosen:
        typer.echo(
            f"Searching the starter gallery: only {gallery.rows} photos of a few places; most"
            " photos lie outside it.\nFor world-wide answers: `img2loc setup img2loc` says what to"
            " fetch; or `img2loc index build` on photos of yours.",
            err=True,
        )
    elif not chosen:
        what = (
            f"the gallery {gallery.name} ({gallery.rows:,} {gallery.of})"
            if gallery
            else "no gallery"
        )
        typer.echo(f"Using {plan.locator}: {what}.", err=True)
    for lmm in plan.lmms:
        if lmm.endpoint is None or chosen:
            continue
        shown = f", each with up to {plan.shows} of the gallery's," if plan.shows else ""
        typer.echo(
            f"Photos{shown} are sent to the LMM {lmm.name} at {lmm.endpoint}, without metadata or"
            " file name.",
            err=True,
        )
