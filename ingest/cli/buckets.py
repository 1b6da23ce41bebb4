"""Commands for buckets, links and what is wrong: buckets, mb, rb, presign, cleanup, doctor."""

from __future__ import annotations

from typing import Any

import click

from ingest.cli.options import Command, asked, connection_options
from ingest.errors import UsageError
from ingest.location import parse_url


@click.command(cls=Command)
@click.argument("url")
@connection_options
@click.pass_context
def mb(ctx: click.Context, /, url: str, **values: Any) -> None:
    """Make a bucket; one that is yours already is fine."""
    from ingest.admin import make_bucket

    made = make_bucket(asked(ctx, values).clients(), parse_url(url).bucket)
    click.echo(f"{'made' if made else 'is there already:'} {url}")


@click.command(cls=Command)
@click.argument("url")
@click.option("--force", is_flag=True, help="Empty it first: all versions, unfinished uploads.")
@connection_options
@click.pass_context
def rb(ctx: click.Context, /, url: str, force: bool, **values: Any) -> None:
    """Remove a bucket."""
    from ingest.admin import remove_bucket

    where = parse_url(url)
    if where.key:
        raise UsageError(f"{url} names a key, and not a bucket alone")
    remove_bucket(asked(ctx, values).clients(), where.bucket, force=force)
    click.echo(f"removed {url}")


COMMANDS = (mb, rb)
