"""Commands for buckets, links and what is wrong: buckets, mb, rb, presign, cleanup, doctor."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Command, asked, connection_options, output_options
from ingest.errors import IngestError, UsageError
from ingest.location import parse_service, parse_url
from ingest.storage.services import S3

if TYPE_CHECKING:
    from ingest.cli.options import Asked
    from ingest.location import ObjectUrl
    from ingest.operation import Operation, Status
    from ingest.storage.connection import Clients


@click.command(cls=Command)
@click.argument("url", default=f"{S3}://")
@connection_options
@output_options
@click.pass_context
def buckets(ctx: click.Context, /, url: str, **values: Any) -> None:
    """List the buckets; those of another service by its URL alone, ds3:// for one."""
    where = parse_service(url)
    if where.bucket:
        raise UsageError(f"{url} names a bucket; ls shows what is in it")
    list_all(asked(ctx, values), where)


def list_all(call: Asked, where: ObjectUrl) -> None:
    """Show each bucket that the credentials own."""
    from ingest.cli.console import write_json
    from ingest.cli.text import printable

    for name, created in call.service(where).buckets():
        if call.values["as_json"]:
            write_json({"type": "bucket", "name": name, "created": created})
        else:
            click.echo(f"{created or '':20}  {printable(name)}")


@click.command(cls=Command)
@click.argument("url")
@connection_options
@output_options
@click.pass_context
def mb(ctx: click.Context, /, url: str, **values: Any) -> None:
    """Make a bucket; one that is yours already is fine."""
    from ingest.operation import Operation

    where = _bucket_of(url)
    made = asked(ctx, values).service(where).make_bucket(where.bucket)
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
    from ingest.operation import Operation

    where = _bucket_of(url)
    asked(ctx, values).service(where).remove_bucket(where.bucket, force=force)
    _show(ctx, values, Operation("remove", url))


def _show(ctx: click.Context, values: dict[str, Any], operation: Operation) -> None:
    from ingest.cli.console import Reporter

    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    ctx.exit(reporter.show(iter([operation]), iter(())))


def _bucket_of(url: str) -> ObjectUrl:
    where = parse_url(url)
    if where.key:
        raise UsageError(f"{url} names a key, and not a bucket alone")
    return where


def _of_s3(ctx: click.Context, values: dict[str, Any], url: str) -> tuple[ObjectUrl, Clients]:
    """Return what ``url`` names, and the connection to it, where the command is one of S3's own."""
    from ingest.connecting import bucket_name

    where = parse_url(url)
    if where.scheme != S3:
        raise UsageError(f"{ctx.info_name} is for {S3}:// alone, and not for {url}")
    bucket_name(where.bucket)
    return where, asked(ctx, values).clients


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

    where, clients = _of_s3(ctx, values, url)
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

    where, clients = _of_s3(ctx, values, url)
    found = clean_up(clients, where.bucket, where.key, parse_age(older_than), dry_run=dry_run)
    done: Status = "planned" if dry_run else "done"
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    operations = (
        Operation(
            "abort",
            where.of(upload.key),
            status="failed" if error else done,
            reason=f"begun {datetime.fromtimestamp(upload.initiated, UTC):%Y-%m-%d %H:%M}Z",
            error=error,
        )
        for upload, error in found
    )
    ctx.exit(reporter.show(operations, iter(())))


@click.command(cls=Command)
@click.argument("url", default=f"{S3}://")
@connection_options
@output_options
@click.pass_context
def doctor(ctx: click.Context, /, url: str, **values: Any) -> None:
    """Check the connection step by step; with s3://bucket/prefix/, reading and writing too."""
    from ingest.cli.console import write_json
    from ingest.doctor import misconfigured

    where = parse_service(url)
    try:
        checks = asked(ctx, values).service(where).checks(where.bucket or None, where.directory)
    except UsageError:
        raise
    except IngestError as error:
        checks = misconfigured(error, where.scheme)
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
