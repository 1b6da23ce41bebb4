"""Commands that look at objects, or delete them: ls, cat, verify, rm."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.buckets import list_all
from ingest.cli.options import Command, asked, connection_options, output_options, transfer_options
from ingest.cli.running import is_file, named, run, tree_of
from ingest.errors import NotFound, UsageError
from ingest.location import parse, parse_service, parse_url
from ingest.planning.filters import key_filter
from ingest.storage.services import S3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.cli.options import Asked
    from ingest.location import ObjectUrl
    from ingest.operation import Operation
    from ingest.storage.base import Entry, Prefix, Store, Transfer
    from ingest.storage.versions import Version


@click.command(cls=Command)
@click.argument("url", default=f"{S3}://")
@click.option("--recursive", is_flag=True, help="Everything below, not one level.")
@click.option("--versions", is_flag=True, help="Everything below, in every version there is.")
@connection_options
@output_options
@click.pass_context
def ls(ctx: click.Context, /, url: str, recursive: bool, versions: bool, **values: Any) -> None:
    """List what is directly below s3://bucket/prefix/; without a URL, the buckets."""
    call, where = asked(ctx, values), parse_service(url)
    if not where.bucket:
        list_all(call, where)
        return
    from ingest.cli.console import show_entry, show_version

    found = 0
    if versions:
        for version in _versions(call, where):
            found += 1
            show_version(version, where, as_json=values["as_json"])
    else:
        for item in _listed(call.store(where), where, recursive=recursive):
            found += 1
            show_entry(item, where, as_json=values["as_json"])
    if not found and where.key:
        raise NotFound(f"there is nothing at {where}")


def _versions(call: Asked, where: ObjectUrl) -> Iterator[Version]:
    """Yield the versions of the object of that name, and of all that is below the directory."""
    for version in call.service(where).versions(where.bucket, where.key):
        if where.covers(version.key):
            yield version


def _listed(store: Store, where: ObjectUrl, *, recursive: bool) -> Iterator[Entry | Prefix]:
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
        yield from _listed(store, replace(where, key=where.directory), recursive=recursive)


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
        store, dry_run = call.store(where), values["dry_run"]
        if recursive:
            return remove(store, where.directory, call.rules(), how, dry_run=dry_run)
        if not key_filter(call.rules())(where.name):
            return iter(())
        return remove_one(store, where.key, how, dry_run=dry_run)

    run(ctx, values, operations)


@click.command(cls=Command)
@click.argument("url")
@click.option("--offset", type=click.IntRange(0), default=0, metavar="N", help="First byte, 0 on.")
@click.option("--length", type=click.IntRange(0), metavar="N", help="Most bytes; by default all.")
@click.option("--version-id", metavar="ID", help="A version that ls --versions shows.")
@connection_options
@click.pass_context
def cat(
    ctx: click.Context,
    /,
    url: str,
    offset: int,
    length: int | None,
    version_id: str | None,
    **values: Any,
) -> None:
    """Write an object's bytes, or a part of them, to stdout."""
    where = parse_url(url)
    if not where.key:
        raise UsageError(f"{url} names no object")
    store = asked(ctx, values).store(where)
    for piece in store.stream(where.key, offset, length, version_id):
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
            if not key_filter(call.rules())(key.rpartition("/")[2]):
                return iter(())
            return compare_one(here, key, *named(call, end, key.rpartition("/")[2]))
        return compare(tree_of(call, start), tree_of(call, end), call.rules(), how)

    run(ctx, values, operations)


COMMANDS = (ls, rm, cat, verify)
