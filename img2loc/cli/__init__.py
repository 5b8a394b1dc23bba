"""The command line: parses and prints, decides nothing.

Machine output goes to stdout, everything else to stderr.
"""

import io
import logging
import os
import sys
import threading
import traceback
import warnings
from contextlib import suppress
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from img2loc.cli.stdio import gated

_COMMANDS = {
    "ask": "ask:ask",
    "doctor": "system:doctor",
    "setup": "system:setup",
    "embed": "embed:embed",
    "index": "index:app",
    "encoder": "encoder:app",
    "lmm": "lmm:app",
    "bench": "bench:app",
    "data": "data:app",
    "train": "train:app",
    "config": "system:config_app",
}
"""Where each command or group of commands is; the order is that of `--help`."""


class _Commands(TyperGroup):
    """Imports a command when it is wanted: all of them take as long as a search."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = dict.fromkeys(_COMMANDS)  # type: ignore[assignment]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        named = getattr(import_module(f"img2loc.cli.{module}"), attribute)
        if isinstance(named, typer.Typer):
            return get_group(named)
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(cmd_name)(named)
        return get_command(alone)


app = typer.Typer(
    name="img2loc",
    cls=_Commands,
    help="Where on Earth was this photo taken?",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from img2loc import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback when something goes wrong.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Say where on Earth photos were taken."""


def main() -> None:
    """Run the command line.

    Exit codes: 0 all located, 3 some not, 2 usage, 1 error, 130 interrupted.
    """
    _quieten()
    debug = "--debug" in sys.argv
    # Accepted anywhere on the line.
    sys.argv = [word for word in sys.argv if word != "--debug"]
    code = _run(debug)
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    threads = (one for one in threading.enumerate() if one is not threading.main_thread())
    if all(one.daemon for one in threads):
        sys.exit(code)
    # Python would wait, for minutes, for the thread of a request in flight.
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.flush()
    os._exit(code)


def _quieten() -> None:
    """Keep libraries from writing between the answers, and texts from breaking the encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Also for the bars of transformers. Both are read when these libraries are imported.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@gated()
def _run(debug: bool) -> int:
    """The exit code. All that is printed passes the gate, the traceback of --debug too."""
    from img2loc.core.errors import Img2LocError

    logging.basicConfig(level=logging.ERROR)  # It keeps the stream that is there now.
    try:
        result = app(standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort) as stopped:
        if isinstance(stopped.__cause__, EOFError):  # click's Abort for a file that is cut off
            return _fault(stopped.__cause__, stopped, debug)
        code = 130
    except Exception as error:
        # A usage error, of click's or of typer's own copy of it.
        if (show := getattr(error, "show", None)) is not None:
            show()
            return int(getattr(error, "exit_code", 2))
        if debug or not isinstance(error, Img2LocError):
            return _fault(error, error, debug)
        typer.echo(f"Error: {error}", err=True)
        return 1
    if code == 130:
        typer.echo(
            "Interrupted. What was printed stands; a build resumes when the same command is run"
            " again.",
            err=True,
        )
    return code


def _fault(fault: BaseException, raised: BaseException, debug: bool) -> int:
    if debug:
        traceback.print_exception(raised)
        return 1
    typer.echo(
        f"Error: {type(fault).__name__}: {fault}. This is a fault of img2loc; --debug shows where.",
        err=True,
    )
    return 1
