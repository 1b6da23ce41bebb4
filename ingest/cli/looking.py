"""Commands that look at objects, or delete them: ls, cat, verify, rm."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.buckets import list_all
from ingest.cli.options import Command, asked, connection_options, output_options, transfer_options
from ingest.cli.running import is_file, named, run, tree_of
from ingest.errors import NotFound, UsageError
from ingest.location import ObjectUrl, parse, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.cli.options import Asked
    from ingest.operation import Operation
    from ingest.storage.base import Entry, Prefix, Transfer
    from ingest.storage.s3 import S3Store


@click.command(cls=Command)
@click.argument("url", required=False)
@click.option("--recursive", is_flag=True, help="Everything below, not one level.")
@connection_options
@output_options
@click.pass_context
def ls(ctx: click.Context, /, url: str | None, recursive: bool, **values: Any) -> None:
    """List what is directly below s3://bucket/prefix/; without a URL, the buckets."""
    call = asked(ctx, values)
    if url is None:
        list_all(call)
        return
    from ingest.cli.console import show_entry

    where = parse_url(url)
    store = call.store(where.bucket)
    found = 0
    for item in _listed(store, where, recursive=recursive):
        found += 1
        show_entry(item, where, as_json=values["as_json"])
    if not found and where.key:
        raise NotFound(f"there is nothing at {where}")


def _listed(store: S3Store, where: ObjectUrl, *, recursive: bool) -> Iterator[Entry | Prefix]:
    """Yield what is below a directory; or the object of that name and the directory of it."""
    if where.directory == where.key:
        yield from store.list(where.key) if recursive else store.list_directory(where.key)
        return
    below = False
    for item in store.list_directory(where.key):
        if item.key == where.key:
            yield item
        below = below or item.key == where.directory
    if below:
        yield from _listed(store, ObjectUrl(where.bucket, where.directory), recursive=recursive)


@click.command(cls=Command)
@click.argument("url")
@click.option("--recursive", is_flag=True, help="Everything below URL.")
@transfer_options
@click.pass_context
def rm(ctx: click.Context, /, url: str, recursive: bool, **values: Any) -> None:
    """Delete an object; with --recursive, everything below s3://bucket/prefix/."""
    from ingest.removal import remove, remove_one

    where = parse_url(url)
    if not recursive and not where.key:
        raise UsageError(f"{url} names no object", hint="rb removes a bucket")

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        store, dry_run = call.store(where.bucket), values["dry_run"]
        if recursive:
            return remove(store, where.directory, call.rules(), how, dry_run=dry_run)
        return remove_one(store, where.key, how, dry_run=dry_run)

    run(ctx, values, operations)


@click.command(cls=Command)
@click.argument("url")
@connection_options
@click.pass_context
def cat(ctx: click.Context, /, url: str, **values: Any) -> None:
    """Write an object's bytes to stdout."""
    where = parse_url(url)
    if not where.key:
        raise UsageError(f"{url} names no object")
    for piece in asked(ctx, values).store(where.bucket).stream(where.key):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@transfer_options
@click.pass_context
def verify(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Compare two files, or what is below two directories, by size and hash.

    What differs is listed.
    """
    from ingest.verification import compare, compare_one

    start, end = parse(source), parse(destination)

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        if is_file(call, start):
            here, key = named(call, start)
            return compare_one(here, key, *named(call, end, key.rpartition("/")[2]))
        return compare(tree_of(call, start), tree_of(call, end), call.rules(), how)

    run(ctx, values, operations)


COMMANDS = (ls, rm, cat, verify)
