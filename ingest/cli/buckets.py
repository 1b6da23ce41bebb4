"""Commands for buckets, links and what is wrong: buckets, mb, rb, presign, cleanup, doctor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Command, asked, connection_options, output_options
from ingest.errors import IngestError, UsageError
from ingest.location import ObjectUrl, parse_url

if TYPE_CHECKING:
    from ingest.cli.options import Asked
    from ingest.operation import Operation, Status


@click.command(cls=Command)
@connection_options
@output_options
@click.pass_context
def buckets(ctx: click.Context, /, **values: Any) -> None:
    """List the buckets."""
    list_all(asked(ctx, values))


def list_all(call: Asked) -> None:
    """Show each bucket that the credentials own."""
    from ingest.admin import list_buckets
    from ingest.cli.console import write_json
    from ingest.cli.text import printable

    for bucket in list_buckets(call.clients):
        if call.values["as_json"]:
            write_json({"type": "bucket", "name": bucket.name, "created": bucket.created})
        else:
            click.echo(f"{bucket.created or '':20}  {printable(bucket.name)}")


@click.command(cls=Command)
@click.argument("url")
@connection_options
@output_options
@click.pass_context
def mb(ctx: click.Context, /, url: str, **values: Any) -> None:
    """Make a bucket; one that is yours already is fine."""
    from ingest.admin import make_bucket
    from ingest.operation import Operation

    made = make_bucket(asked(ctx, values).clients, _bucket_of(url))
    kept = Operation("make", url, status="skipped", reason="it is yours already")
    _show(ctx, values, Operation("make", url) if made else kept)


@click.command(cls=Command)
@click.argument("url")
@click.option("--force", is_flag=True, help="Empty it first: all versions, unfinished uploads.")
@connection_options
@output_options
@click.pass_context
def rb(ctx: click.Context, /, url: str, force: bool, **values: Any) -> None:
    """Remove a bucket."""
    from ingest.admin import remove_bucket
    from ingest.operation import Operation

    remove_bucket(asked(ctx, values).clients, _bucket_of(url), force=force)
    _show(ctx, values, Operation("remove", url))


def _show(ctx: click.Context, values: dict[str, Any], operation: Operation) -> None:
    from ingest.cli.console import Reporter

    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    ctx.exit(reporter.show(iter([operation]), iter(())))


def _bucket_of(url: str) -> str:
    where = _parsed(url)
    if where.key:
        raise UsageError(f"{url} names a key, and not a bucket alone")
    return where.bucket


def _parsed(url: str) -> ObjectUrl:
    from ingest.connecting import bucket_name

    where = parse_url(url)
    bucket_name(where.bucket)
    return where


@click.command(cls=Command)
@click.argument("url")
@click.option("--put", is_flag=True, help="A link to write the object, not to read it.")
@click.option("--expires", type=int, default=3600, show_default=True, metavar="SECONDS")
@click.option("--content-type", metavar="TYPE", help="With --put: what has to be sent.")
@connection_options
@click.pass_context
def presign(
    ctx: click.Context,
    /,
    url: str,
    put: bool,
    expires: int,
    content_type: str | None,
    **values: Any,
) -> None:
    """Print a link that reads, or with --put writes, one object without credentials."""
    from ingest.admin import presign_get, presign_put

    where, clients = _parsed(url), asked(ctx, values).clients
    if not where.key:
        raise UsageError(f"{url} names no object")
    if put:
        link = presign_put(clients, where.bucket, where.key, expires, content_type=content_type)
    else:
        link = presign_get(clients, where.bucket, where.key, expires)
    click.echo(link)


@click.command(cls=Command)
@click.argument("url")
@click.option("--older-than", default="7d", show_default=True, metavar="AGE", help="7d, 12h, 90m.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@connection_options
@output_options
@click.pass_context
def cleanup(ctx: click.Context, /, url: str, older_than: str, dry_run: bool, **values: Any) -> None:
    """Abort unfinished multipart uploads below s3://bucket/prefix."""
    from ingest.admin import clean_up, parse_age
    from ingest.cli.console import Reporter
    from ingest.operation import Operation

    where, clients = _parsed(url), asked(ctx, values).clients
    found = clean_up(clients, where.bucket, where.key, parse_age(older_than), dry_run=dry_run)
    done: Status = "planned" if dry_run else "done"
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    operations = (
        Operation(
            "abort",
            f"s3://{where.bucket}/{upload.key}",
            status="failed" if error else done,
            reason=f"begun {datetime.fromtimestamp(upload.initiated, UTC):%Y-%m-%d %H:%M}Z",
            error=error,
        )
        for upload, error in found
    )
    ctx.exit(reporter.show(operations, iter(())))


@click.command(cls=Command)
@click.argument("url", required=False)
@connection_options
@output_options
@click.pass_context
def doctor(ctx: click.Context, /, url: str | None, **values: Any) -> None:
    """Check the connection step by step; with s3://bucket/prefix/, reading and writing too."""
    from ingest.cli.console import write_json
    from ingest.doctor import diagnose, misconfigured

    where = _parsed(url) if url else ObjectUrl("")
    try:
        clients = asked(ctx, values).clients
    except IngestError as error:
        checks = misconfigured(error)
    else:
        checks = diagnose(clients, where.bucket or None, where.directory)
    failed = False
    for check in checks:
        failed = failed or check.status == "failed"
        if values["as_json"]:
            fields = {"check": check.name, "status": check.status, "finding": check.finding}
            write_json({**fields, "cure": check.cure})
        elif not values["quiet"] or check.status in {"failed", "warning"}:
            click.echo(f"{check.status:8} {check.name:12} {check.finding}")
            if check.cure:
                click.echo(f"{'':8} {'':12} -> {check.cure}")
    ctx.exit(1 if failed else 0)


COMMANDS = (buckets, mb, rb, presign, cleanup, doctor)
