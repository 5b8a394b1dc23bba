"""`img2loc train ablate`: what each part of GeoCLIP is good for."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from img2loc.cli.bench_score import AsJson
from img2loc.cli.config_file import ConfigFile
from img2loc.cli.options import TablePhotos
from img2loc.cli.train_options import (
    Encoder,
    Epochs,
    Out,
    Seed,
    Source,
    Table,
    Values,
    photos_of,
    settings_given,
    share_or_file,
)

if TYPE_CHECKING:
    from img2loc.training.geoclip_settings import GeoClipTraining


def ablate(
    source: Source,
    out: Out,
    photos: TablePhotos = None,
    encoder: Encoder = None,
    epochs: Epochs = None,
    seed: Seed = None,
    validation: Annotated[
        str, typer.Option(metavar="SHARE|CSV", help="A share to hold out, or other photos.")
    ] = "0.1",
    fractions: Annotated[
        str, typer.Option(metavar="F,F", help="Shares of the photos to train on.")
    ] = "0.05,0.1,0.2,0.5",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="ROW", help="Only this row beside full; repeatable."),
    ] = None,
    table: Table = "geoclip",
    values: Values = None,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Train GeoCLIP in full, and without each of its parts.

    Each row is a training in DIR: no projection, no Fourier features, fewer frequencies, no queue,
    less data. All are compared on the same held-out photos. Run the same command again to resume.
    """
    import json

    from img2loc.bench.reports.ablation_table import ablation_table
    from img2loc.cli.progress import progress, spinner
    from img2loc.config import factory

    options: dict[str, Any] = {"encoder": encoder, "epochs": epochs, "seed": seed}
    options |= {"validation": share_or_file(validation)}
    tables, settings = settings_given("geoclip", table, options, values, config)
    from img2loc.bench.scores import train_ablation  # After the check that its packages are here.
    from img2loc.training import geoclip as training

    rows = _rows(settings, fractions, only)
    entries = photos_of(source, photos).source()
    with spinner(f"Loading the encoder {settings.encoder} …"):
        tower = factory.encoder(tables, settings.encoder)
    for name, row in rows.items():
        typer.echo(name, err=True)
        with progress("") as advance:
            training.train(
                *(row, tower, entries, out / name),
                lambda what, done, total, remark: advance(done, total, remark or what),
            )
    folders = {name: out / name for name in rows}
    scores = train_ablation.table(settings, tower, entries, folders)
    typer.echo(json.dumps(scores, ensure_ascii=False) if as_json else ablation_table(scores))


def _rows(
    settings: "GeoClipTraining", fractions: str, only: list[str] | None
) -> "dict[str, GeoClipTraining]":
    """The rows of an ablation by name, with --only the full one and these."""
    from img2loc.training import ablation

    try:
        shares = [float(part) for part in fractions.split(",") if part.strip()]
    except ValueError as error:
        raise typer.BadParameter(
            f"{fractions!r} is no list of shares, such as 0.1,0.5.", param_hint="--fractions"
        ) from error
    rows = ablation.variants(settings, shares)
    if unknown := sorted(set(only or ()) - set(rows)):
        raise typer.BadParameter(
            f"there is no row {unknown[0]!r}. Rows: {', '.join(rows)}.", param_hint="--only"
        )
    chosen = {ablation.FULL, *(only or rows)}
    return {name: row for name, row in rows.items() if name in chosen}
