"""The progress of long work: a bar or a spinner on stderr, on a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from img2loc.cli.stdio import on_terminal, plain, ungated

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn


class Advance(Protocol):
    """What moves a bar."""

    def __call__(self, done: int, total: int | None = None, remark: str = "") -> None:
        """Show how many are done, of a total that was not known before, with a remark."""


@contextmanager
def progress(unit: str, total: int | None = None, show: bool = True) -> Iterator[Advance]:
    """A bar with count, rate, remark and time remaining; of the unit "bytes" it shows megabytes.

    Where the total is not known, nothing is drawn before the first call: there may be a question.
    """
    if not (show and on_terminal(sys.stderr)):
        yield lambda done, total=None, remark="": None
        return
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.table import Column

    remaining = TimeRemainingColumn(table_column=Column(no_wrap=True))
    bar = _bar(BarColumn(None), TextColumn("{task.description}", markup=False), remaining)
    task = bar.add_task("", total=None)
    megabytes = unit == "bytes"

    def advance(done: int, total: int | None = total, remark: str = "") -> None:
        if not bar.live.is_started or total != bar.tasks[0].total:
            # What was done before does not count as speed.
            bar.reset(task, total=total, completed=done)
        numbers = [done] if total is None else [done, total]
        count = "/".join(f"{n / 1e6:,.1f}" if megabytes else f"{n:,}" for n in numbers)
        parts = [f"{count} {'MB' if megabytes else unit}"]
        if speed := bar.tasks[0].speed:
            parts.append(f"{speed / 1e6:,.1f} MB/s" if megabytes else f"{speed:,.1f}/s")
        bar.update(task, completed=done, description="  ".join(filter(None, [*parts, remark])))
        bar.start()

    try:
        if total is not None:
            advance(0)
        yield advance
    finally:
        bar.stop()


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """A spinner while something loads."""
    if not on_terminal(sys.stderr):
        yield
        return
    from rich.progress import SpinnerColumn, TextColumn

    with _bar(SpinnerColumn(), TextColumn("{task.description}", markup=False)) as bar:
        bar.add_task(plain(what), total=None)
        yield


def tqdm_bar() -> type:
    """The class for libraries that draw bars of their own with tqdm."""
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **options: Any) -> None:
            options |= {"file": ungated(sys.stderr), "disable": not on_terminal(sys.stderr)}
            super().__init__(*args, **options)

    return Bar


def _bar(*columns: "ProgressColumn") -> "Progress":
    """A bar, not drawn yet. It does not pass the gate, so the texts in it must be `plain`."""
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        *columns,
        console=Console(file=ungated(sys.stderr)),
        transient=True,
        expand=True,
        redirect_stdout=False,  # Answers would go to the bar's own console.
        redirect_stderr=False,
    )
