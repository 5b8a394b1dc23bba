"""`img2loc bench`: run a benchmark, score it, compare runs, report on them."""

import typer

from img2loc.cli import score

app = typer.Typer(help="Score, compare and report on benchmark runs.", no_args_is_help=True)
app.command("score")(score.score)
app.command("compare")(score.compare)
app.command("report")(score.report)
