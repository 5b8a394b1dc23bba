"""`img2loc lmm`: which models there are, and whether one answers."""

import time
from pathlib import Path
from typing import Annotated

import typer

from img2loc.cli.settings import ConfigFile, load_config

app = typer.Typer(help="Look at the LMMs, and try one.", no_args_is_help=True)


@app.command("list")
def listed(
    config: ConfigFile = None,
) -> None:
    """List the LMMs: kind, model, and where photos go."""
    from img2loc.config import registry
    from img2loc.config.plan import plan_lmm
    from img2loc.core.errors import Img2LocError

    settings = load_config(config)
    registry.check(settings)
    for name in settings.names("lmm"):
        table = settings.table("lmm", name)
        try:
            goes = plan_lmm(settings, name).endpoint or "stays on this machine"
        except Img2LocError as error:
            goes = str(error)
        typer.echo(
            f"{name}: {table['kind']}, {table.get('model', table.get('run', 'no model'))}; {goes}"
        )


@app.command()
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An [lmm.NAME] table.")],
    local_only: Annotated[
        bool, typer.Option("--local-only", help="Refuse any LMM that is not on this machine.")
    ] = False,
    config: ConfigFile = None,
) -> int:
    """Send one tiny image, and say what came back.

    Also how long it took, what it cost, and whether structured output works.
    """
    from img2loc.cli.progress import waiting
    from img2loc.config import factory, registry
    from img2loc.config.plan import plan_lmm
    from img2loc.core.images import tiny_jpeg
    from img2loc.core.protocols import Structured
    from img2loc.core.types import Neighbours, Photo
    from img2loc.lmm.concurrent import only_reply
    from img2loc.lmm.parse.reply import parse_location
    from img2loc.lmm.prompts import Template

    settings = load_config(config)
    registry.check(settings)
    planned = plan_lmm(settings, name)
    if local_only:
        planned.require_local()
    with waiting(f"Loading the LMM {name} …"):
        model = factory.lmm(planned)
    prompt = Template.load("zeroshot").fill(Photo(Path("tiny.jpg"), tiny_jpeg()), Neighbours())
    started = time.monotonic()
    reply = only_reply(model, prompt)
    took = time.monotonic() - started
    typer.echo(f"status      {reply.status}{f': {reply.detail}' if reply.detail else ''}")
    typer.echo(f"reply       {reply.text.strip()!r}")
    found = parse_location(reply.text)
    typer.echo(f"parsed      {f'{found.lat}, {found.lon}' if found else 'no coordinates'}")
    typer.echo(f"time        {took:.1f} s")
    if reply.usage:
        cost = (
            f"{reply.usage.cost_usd:.6f} US dollars"
            if reply.usage.cost_usd is not None
            else "price not known"
        )
        typer.echo(
            f"tokens      {reply.usage.input_tokens} in, {reply.usage.output_tokens} out; {cost}"
        )
    if not isinstance(model, Structured):
        structured = "not offered by this backend"
    elif reply.status == "failed":
        structured = "not known: the request failed"
    else:
        structured = "taken" if model.structured else "off, or refused by the server"
    typer.echo(f"structured  {structured}")
    return 3 if reply.status == "failed" else 0
