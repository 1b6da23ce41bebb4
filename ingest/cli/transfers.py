"""Commands that move content: upload, download, sync, cp, mv."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Asked, Command, asked, transfer_options
from ingest.cli.running import run, tree_of
from ingest.errors import BucketNotFound, NotFound, UsageError
from ingest.location import LocalPath, ObjectUrl, parse, parse_url
from ingest.settings import load_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.location import Location
    from ingest.operation import Operation
    from ingest.storage.base import Transfer
    from ingest.sync import Options, Tree

_DOWNLOADS = "downloads"


@click.command(cls=Command)
@click.argument("local", required=False)
@click.argument("url", required=False)
@transfer_options
@click.pass_context
def upload(ctx: click.Context, /, local: str | None, url: str | None, **values: Any) -> None:
    """Upload a file, or a directory's content, to s3://bucket/prefix.

    Without arguments, the directory downloads/$SOURCE_LOCAL_DIR goes to the directory
    $TARGET_DIR of the bucket $TARGET_BUCKET.
    """
    if local is None or url is None:
        if local is not None:
            raise UsageError("upload takes a path and a URL, or neither")
        local, url = _upload_of_environment()
    _transfer(ctx, values, parse(local), parse_url(url))


@click.command(cls=Command)
@click.argument("url", required=False)
@click.argument("local", required=False)
@transfer_options
@click.pass_context
def download(ctx: click.Context, /, url: str | None, local: str | None, **values: Any) -> None:
    """Download an object, or what is below s3://bucket/prefix/, to a path.

    Without arguments, the directory $SOURCE_DIR of the bucket $SOURCE_BUCKET goes to
    downloads/$SOURCE_DIR.
    """
    if local is None or url is None:
        if url is not None:
            raise UsageError("download takes a URL and a path, or neither")
        url, local = _download_of_environment()
    _transfer(ctx, values, parse_url(url), parse(local))


def _upload_of_environment() -> tuple[str, str]:
    found = load_directories()
    if not found.target_bucket or not found.target_dir or not found.source_local_dir:
        raise UsageError(
            "upload without arguments needs TARGET_BUCKET, TARGET_DIR and SOURCE_LOCAL_DIR"
        )
    target = f"s3://{found.target_bucket}/{found.target_dir}/"
    return f"{_DOWNLOADS}/{found.source_local_dir}", target


def _download_of_environment() -> tuple[str, str]:
    found = load_directories()
    if not found.source_bucket or not found.source_dir:
        raise UsageError("download without arguments needs SOURCE_BUCKET and SOURCE_DIR")
    return f"s3://{found.source_bucket}/{found.source_dir}/", f"{_DOWNLOADS}/{found.source_dir}"


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@transfer_options
@click.option("--delete", is_flag=True, help="Delete what the source has not; last of all.")
@click.option("--max-delete", type=click.IntRange(0), metavar="N", help="Delete nothing if more.")
@click.option(
    "--compare",
    type=click.Choice(["size-mtime", "size", "checksum"]),
    default="size-mtime",
    show_default=True,
)
@click.pass_context
def sync(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Make DESTINATION like SOURCE; one of them, or both, s3://bucket/prefix."""
    from ingest.sync import Options

    options = Options(
        compare=values["compare"],
        delete=values["delete"],
        max_delete=values["max_delete"],
        dry_run=values["dry_run"],
    )
    _directories(ctx, values, parse(source), parse(destination), options)


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@click.option("--recursive", is_flag=True, help="Everything below SOURCE.")
@transfer_options
@click.pass_context
def cp(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Copy a file or an object; with --recursive, a directory."""
    _copy(ctx, values, source, destination)


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@click.option("--recursive", is_flag=True, help="Everything below SOURCE.")
@transfer_options
@click.pass_context
def mv(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Copy, and delete each source once its copy is there."""
    _copy(ctx, values, source, destination, move=True)


def _copy(
    ctx: click.Context, values: dict[str, Any], source: str, destination: str, *, move: bool = False
) -> None:
    from ingest.sync import Options

    start, end = parse(source), parse(destination)
    options = Options(compare=None, dry_run=values["dry_run"], move=move)
    if values["recursive"]:
        _directories(ctx, values, start, end, options)
    else:
        _file(ctx, values, start, end, options)


def _transfer(
    ctx: click.Context, values: dict[str, Any], source: Location, destination: Location
) -> None:
    """Upload or download: what ``source`` is, a file or a directory, decides."""
    from ingest.sync import Options

    options = Options(compare=None, dry_run=values["dry_run"])
    if isinstance(source, LocalPath):
        single = not source.is_directory and source.path.exists()
    else:
        single = bool(source.name) and _is_object(asked(ctx, values), source)
    (_file if single else _directories)(ctx, values, source, destination, options)


def _is_object(call: Asked, url: ObjectUrl) -> bool:
    try:
        call.store(url.bucket).head(url.key)
    except BucketNotFound:
        raise
    except NotFound:
        return False
    return True


def _directories(
    ctx: click.Context,
    values: dict[str, Any],
    source: Location,
    destination: Location,
    options: Options,
) -> None:
    from ingest.sync import sync as synchronise

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        chosen = replace(options, rules=call.rules(), content=call.content())
        return synchronise(tree_of(call, source), tree_of(call, destination), chosen, how)

    # Of a sync, nobody knows how much of the source is unchanged.
    run(ctx, values, operations, source if options.compare is None else None)


def _file(
    ctx: click.Context,
    values: dict[str, Any],
    source: Location,
    destination: Location,
    options: Options,
) -> None:
    from ingest.planning.plan import Transfer as Send
    from ingest.sync import send_one

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        start, key = _named(call, source)
        end, target = _named(call, destination, key.rpartition("/")[2])
        if not key or not target:
            raise UsageError(f"{source} names no single file", hint="for a directory: --recursive")
        try:
            one = Send(start.entry(key), target, "new")
        except BucketNotFound:
            raise
        except NotFound as error:
            raise NotFound(error.message, hint="for a directory: --recursive") from None
        return send_one(start, end, one, replace(options, content=call.content()), how)

    run(ctx, values, operations)


def _named(call: Asked, location: Location, name: str = "") -> tuple[Tree, str]:
    """Return the tree that one file is in, and its key there; a directory gets ``name``."""
    from ingest.trees import LocalTree, StoreTree

    if isinstance(location, ObjectUrl):
        key = location.key if location.name or not name else location.key + name
        return StoreTree(call.store(location.bucket)), key
    if location.is_directory:
        return LocalTree(location.path), name
    return LocalTree(location.path.parent), location.path.name


COMMANDS = (upload, download, sync, cp, mv)
