"""Transfers between buckets past one machine, or on this one by the same plan: transfer, follow."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Summing, output_options
from ingest.cli.remote import follow_again, show_summary, start_and_follow
from ingest.errors import Incomplete
from ingest.location import parse_url
from ingest.settings.remote import load_target

if TYPE_CHECKING:
    from ingest.remote.copying import Copied
    from ingest.remote.ends import Ends

_LONGEST_S = 365 * 86_400.0
"""Nobody limits the time of this machine."""


@click.command(cls=Summing)
@click.argument("source")
@click.argument("destination")
@click.option("--local/--remote", default=True, help="Here, or on Step Functions; here.")
@output_options
@click.pass_context
def transfer(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Copy what is below one s3://bucket/prefix below another, batch by batch, and verify it.

    Done again, it copies what is missing. DESTINATION may be in another store, which the variables
    TARGET_ENDPOINT_URL and so on name.
    """
    from ingest.remote.ends import check_ends, open_ends
    from ingest.settings.stores import load_store

    start, end = parse_url(source), parse_url(destination)
    output = {"as_json": values["as_json"], "quiet": values["quiet"]}
    if values["local"]:
        _transfer_here(open_ends(start, end, load_store()), **output)
        return
    check_ends(start, end, one_store=load_target() is None)
    given = {
        name: {"bucket": url.bucket, "prefix": url.directory}
        for name, url in (("source", start), ("target", end))
    }
    ctx.exit(start_and_follow("transfer", given, **output))


@click.command(cls=Summing)
@click.argument("execution")
@output_options
@click.pass_context
def follow(ctx: click.Context, /, execution: str, as_json: bool, quiet: bool) -> None:
    """Show how far an execution of Step Functions is, by its ARN, until it ends."""
    ctx.exit(follow_again(execution, as_json=as_json, quiet=quiet))


def _transfer_here(ends: Ends, *, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from ingest.pacing import Deadline
    from ingest.remote.copying import raise_where_incomplete
    from ingest.remote.local import transfer as batches
    from ingest.remote.local import verify
    from ingest.storage.base import PLAIN

    deadline = Deadline(_LONGEST_S)
    for number, done in enumerate(batches(ends, deadline, PLAIN), 1):
        _show_batch(number, done, as_json=as_json, quiet=quiet)
    compared = verify(ends, deadline)
    raise_where_incomplete(compared, ends.source, ends.target)
    names = {
        "source": ends.source.shown(ends.source.prefix),
        "target": ends.target.shown(ends.target.prefix),
    }
    show_summary({**names, **asdict(compared)}, as_json=as_json, quiet=quiet)


def _show_batch(number: int, done: Copied | Incomplete, *, as_json: bool, quiet: bool) -> None:
    from dataclasses import asdict

    from ingest.cli.console import write_json
    from ingest.cli.text import human_size, printable

    if isinstance(done, Incomplete):
        if as_json:
            write_json({"batch": number, "status": "failed", "error": str(done)})
        else:
            sys.stderr.write(printable(f"batch {number:,}: {done}") + "\n")
    elif not quiet:
        if as_json:
            write_json({"batch": number, "status": "done", **asdict(done)})
        else:
            sys.stdout.write(
                f"batch {number:,}: {done.copied:,} copied, {done.skipped:,} there already; "
                f"{human_size(done.bytes)}\n"
            )


COMMANDS = (transfer, follow)
