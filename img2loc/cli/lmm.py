"""`img2loc lmm`: which models there are, and whether one answers."""

import time
from pathlib import Path
from typing import Annotated

import typer

from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import LocalOnly

app = typer.Typer(
    help="Look at the LMMs, and try one.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(config: ConfigFile = None) -> None:
    """List the LMMs: kind, model, and where photos go."""
    from img2loc.config.plan import plan_lmm
    from img2loc.core.errors import Img2LocError

    settings = checked_config(config)
    for name in settings.names("lmm"):
        table = settings.table("lmm", name)
        try:
            goes = plan_lmm(settings, name).endpoint or "stays on this machine"
        except Img2LocError as error:
            goes = str(error)
        model = table.get("model", table.get("run", "no model"))
        typer.echo(f"{name}: {table['kind']}, {model}; {goes}")


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An [lmm.NAME] table.")],
    local_only: LocalOnly = False,
    config: ConfigFile = None,
) -> int:
    """Send one tiny image, and print the reply.

    Also prints the time, the cost, and whether structured output works.
    """
    from img2loc.cli.progress import spinner
    from img2loc.config import factory
    from img2loc.config.plan import plan_lmm
    from img2loc.core.images import tiny_jpeg
    from img2loc.core.protocols import Structured
    from img2loc.core.types import Neighbours, Photo
    from img2loc.lmm.concurrent import only_reply
    from img2loc.lmm.parse.reply import parse_location
    from img2loc.lmm.prompts import Template

    settings = checked_config(config)
    planned = plan_lmm(settings, name)
    if local_only:
        planned.require_local()
    with spinner(f"Loading the LMM {name} …"):
        model = factory.lmm(planned)
    prompt = Template.load("zeroshot").fill(Photo(Path("tiny.jpg"), tiny_jpeg()), Neighbours())
    started = time.monotonic()
    reply = only_reply(model, prompt)
    seconds = time.monotonic() - started
    location = parse_location(reply.text)
    if not isinstance(model, Structured):
        structured = "not offered by this backend"
    elif reply.status == "failed":
        structured = "not known: the request failed"
    else:
        structured = "accepted" if model.structured else "off, or refused by the server"
    lines = {
        "status": f"{reply.status}{f': {reply.detail}' if reply.detail else ''}",
        "reply": repr(reply.text.strip()),
        "parsed": f"{location.lat}, {location.lon}" if location else "no coordinates",
        "time": f"{seconds:.1f} s",
    }
    if (usage := reply.usage) is not None:
        known = usage.cost_usd is not None
        cost = f"{usage.cost_usd:.6f} US dollars" if known else "price not known"
        lines["tokens"] = f"{usage.input_tokens} in, {usage.output_tokens} out; {cost}"
    for name, value in {**lines, "structured": structured}.items():
        typer.echo(f"{name:<10}  {value}")
    return 3 if reply.status == "failed" else 0
