"""The arguments and options that several commands take, each written once."""

from pathlib import Path
from typing import Annotated

import typer

LocatorName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which locator to use: a [locator.NAME] table.")
]
LmmName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which LMM to ask: an [lmm.NAME] table.")
]
GalleryName = Annotated[
    str | None,
    typer.Option(metavar="NAME|DIR", help="Which gallery to search; it brings its encoder."),
]
LocalOnly = Annotated[
    bool, typer.Option("--local-only", help="Refuse an LMM that is not on this machine.")
]
TablePhotos = Annotated[
    Path | None, typer.Option(metavar="DIR", help="A table's photos, if not beside it.")
]
BenchmarkName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A benchmark, a recipe, or a CSV or Parquet file."),
]
TruthFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The truth file, if not in its usual place.")
]
BenchmarkPhotos = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The photos, if not in their usual place.")
]
