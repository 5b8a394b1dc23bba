"""What `img2loc bench run` and `ablate` share: options, the question about cost, what is said."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli.stdio import on_terminal

if TYPE_CHECKING:
    from img2loc.bench.runs.predict import Tally
    from img2loc.bench.runs.session import CostEstimate

Limit = Annotated[
    str | None, typer.Option(metavar="N|A-B", help="The first N photos, or the A-th to the B-th.")
]
Shuffle = Annotated[
    bool, typer.Option("--shuffle", help="In random order; with --limit, a random sample.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="The seed of the random order.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The output folder; by default below runs/.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try photos again that failed or were unreadable.")
]
MaxCost = Annotated[
    float | None, typer.Option(metavar="USD", min=0, help="Stop before the total cost is higher.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the first paid request.")]
NoExclude = Annotated[
    bool, typer.Option("--no-exclude", help="Do not exclude rows of a photo's id or photographer.")
]
NearDuplicates = Annotated[
    float | None,
    typer.Option(
        "--exclude-near-duplicates",
        metavar="SIM",
        min=0,
        max=1,
        help="Exclude gallery photos of this similarity (0.95) or more; by default copies (0.999).",
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither store the LMM's replies nor use stored ones.")
]


def near_duplicate(given: float | None, no_exclude: bool) -> float:
    """The similarity from which a gallery row is excluded. Raises BadParameter."""
    from img2loc.bench.datasets.leakage import COPY

    if given is not None and no_exclude:
        raise typer.BadParameter(
            "it contradicts --no-exclude. Leave one of them out.",
            param_hint="--exclude-near-duplicates",
        )
    return COPY if given is None else given


def say_notes(notes: Iterable[str]) -> None:
    """What to know about the photographs and their leaks, on stderr."""
    for note in notes:
        typer.echo(note, err=True)


def confirmation(
    yes: bool, max_usd: float | None, runs: int = 1
) -> "Callable[[CostEstimate], None]":
    """Ask whether to go on at an expected cost; --max-cost answers where nobody can be asked."""
    from img2loc.core.errors import ConfigError

    def confirm(expected: "CostEstimate") -> None:
        total, cost = expected.total, ""
        if expected.paid:
            cost = (
                ", at an unknown price"
                if total.cost_usd is None
                else f", about {total.cost_usd:,.2f} US dollars"
            )
            cost += "" if max_usd is None else f", and no more than {max_usd:,.2f} in all"
        shown = f", each with up to {expected.shows} of the gallery's," if expected.shows else ""
        typer.echo(
            f"{expected.photos:,} photos{f', in {runs} runs,' if runs > 1 else ''}{shown} go to the"
            f" LMM {expected.lmm} at {expected.endpoint}, without metadata or file name: about"
            f" {total.input_tokens:,} tokens in and {total.output_tokens:,} out{cost}.",
            err=True,
        )
        if yes or not expected.paid:
            return
        if on_terminal(sys.stdin) and on_terminal(sys.stderr):
            typer.confirm("Go on?", err=True, abort=True)
        elif max_usd is None:
            raise ConfigError(
                "This run may cost money, and nobody is here to ask. Say --yes, or --max-cost USD."
            )

    return confirm


def standing(tally: "Tally") -> str:
    """How a run stands, for its progress line."""
    done = max(tally.done, 1)
    money = f", ${tally.cost_usd:,.2f}" if tally.cost_usd else ""
    return (
        f"{tally.answered / done:.1%} answered, {tally.within_city / done:.1%} within 25 km{money}"
    )


def conclude(tally: "Tally", folder: Path) -> int:
    """Say how a run ended; its exit code."""
    typer.echo(f"{tally.done:,} of {tally.total:,} photos done: {standing(tally)}", err=True)
    if tally.done < tally.total:
        typer.echo("Stopped by --max-cost. Run it again with a larger one to go on.", err=True)
    if tally.repaired:
        typer.echo(f"{tally.repaired:,} of the answers came on a second try (repair).", err=True)
    if tally.failed:
        typer.echo(
            f"{tally.failed:,} photos failed. Run it again with --retry-failed to retry them.",
            err=True,
        )
    typer.echo(f"Score it: img2loc bench score {folder}", err=True)
    return 3 if tally.failed or tally.done < tally.total else 0
