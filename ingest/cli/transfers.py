"""Commands that move content: upload, download, sync, cp, mv."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Asked, Command, asked, transfer_options
from ingest.cli.running import bytes_in, is_file, named, run, tree_of
from ingest.errors import BucketNotFound, NotFound, UsageError
from ingest.location import LocalPath, parse, parse_url
from ingest.planning.filters import key_filter
from ingest.settings.stores import load_directories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.location import Location
    from ingest.operation import Operation
    from ingest.storage.base import Transfer
    from ingest.sync import Options
    from ingest.trees import StoreTree

_DOWNLOADS = "downloads"
_FOR_DIRECTORIES = "for a directory: --recursive"

names_option = click.option(
    "--files-from",
    type=click.File("rb"),
    metavar="FILE",
    help="Only the names in FILE, one a line; - is standard input.",
)


@click.command(cls=Command)
@click.argument("local", required=False)
@click.argument("url", required=False)
@transfer_options
@names_option
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
@names_option
@click.option("--discard", is_flag=True, help="Write nothing: read and check what is there.")
@click.pass_context
def download(ctx: click.Context, /, url: str | None, local: str | None, **values: Any) -> None:
    """Download an object, or what is below s3://bucket/prefix/, to a path.

    Without arguments, the directory $SOURCE_DIR of the bucket $SOURCE_BUCKET goes to
    downloads/$SOURCE_DIR.
    """
    if values["discard"]:
        if url is None or local is not None:
            raise UsageError("download --discard takes a URL and no path: it writes nothing")
    elif local is None or url is None:
        if url is not None:
            raise UsageError("download takes a URL and a path, or neither")
        url, local = _download_of_environment()
    _transfer(ctx, values, parse_url(url), parse(local) if local is not None else None)


def _upload_of_environment() -> tuple[str, str]:
    found = load_directories()
    _refuse_missing(
        "upload",
        TARGET_BUCKET=found.target_bucket,
        TARGET_DIR=found.target_dir,
        SOURCE_LOCAL_DIR=found.source_local_dir,
    )
    target = f"s3://{found.target_bucket}/{found.target_dir}/"
    return f"{_DOWNLOADS}/{found.source_local_dir}", target


def _download_of_environment() -> tuple[str, str]:
    found = load_directories()
    _refuse_missing("download", SOURCE_BUCKET=found.source_bucket, SOURCE_DIR=found.source_dir)
    return f"s3://{found.source_bucket}/{found.source_dir}/", f"{_DOWNLOADS}/{found.source_dir}"


def _refuse_missing(command: str, **variables: str | None) -> None:
    missing = [name for name, value in variables.items() if not value]
    if missing:
        raise UsageError(
            f"{command} without arguments takes them from the environment, and of that "
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
        )


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@transfer_options
@names_option
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

    if values["delete"] and values["files_from"]:
        raise UsageError("--files-from names what is there; --delete is for what is not")
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
@names_option
@click.pass_context
def cp(ctx: click.Context, /, source: str, destination: str, **values: Any) -> None:
    """Copy a file or an object; with --recursive, a directory."""
    _copy(ctx, values, source, destination)


@click.command(cls=Command)
@click.argument("source")
@click.argument("destination")
@click.option("--recursive", is_flag=True, help="Everything below SOURCE.")
@transfer_options
@names_option
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
    ctx: click.Context, values: dict[str, Any], source: Location, destination: Location | None
) -> None:
    """Upload or download: what ``source`` is, a file or a directory, decides."""
    from ingest.sync import Options

    if isinstance(source, LocalPath) and not source.path.exists():
        raise NotFound(f"there is no file or directory {source.path}")
    options = Options(compare=None, dry_run=values["dry_run"])
    if is_file(asked(ctx, values), source):
        _file(ctx, values, source, destination, options)
    else:
        _directories(ctx, values, source, destination, options)


def _directories(
    ctx: click.Context,
    values: dict[str, Any],
    source: Location,
    destination: Location | None,
    options: Options,
) -> None:
    """Carry out a sync; a ``destination`` of None is nowhere."""
    from ingest.sync import sync as synchronise
    from ingest.trees import NoTree, StoreTree

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        names = call.names(of_files=isinstance(source, LocalPath))
        chosen = replace(options, rules=call.rules(), names=names, content=call.content())
        start = tree_of(call, source)
        end = tree_of(call, destination) if destination else NoTree()
        done = synchronise(start, end, chosen, how)
        # With a "/" at its end it is a directory, which may be empty.
        if isinstance(start, StoreTree) and start.prefix and not str(source).endswith("/"):
            return _if_there(start, done)
        return done

    def sizes(call: Asked) -> Iterator[int]:
        # Of a sync, nobody knows how much of the source is unchanged.
        is_known = options.compare is None and values["files_from"] is None
        return bytes_in(call, source) if is_known else iter(())

    run(ctx, values, operations, sizes)


def _if_there(source: StoreTree, operations: Iterator[Operation]) -> Iterator[Operation]:
    """Yield ``operations``. Raises ``NotFound`` where there is none, and no object either."""
    for first in operations:
        yield first
        yield from operations
        return
    if next(source.store.list(source.prefix), None) is None:
        url = source.shown(source.prefix.removesuffix("/"))
        raise NotFound(f"there is nothing at {url}: no such object, and nothing below it")


def _file(
    ctx: click.Context,
    values: dict[str, Any],
    source: Location,
    destination: Location | None,
    options: Options,
) -> None:
    from ingest.planning.plan import Transfer as Send
    from ingest.sync import send_one
    from ingest.trees import NoTree

    sizes: list[int] = []
    if values["files_from"]:
        raise UsageError(f"--files-from takes names below a directory, and {source} is none")

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        start, key = named(call, source)
        name = key.rpartition("/")[2]
        end, target = named(call, destination, name) if destination else (NoTree(), name)
        if not key or not target:
            told = source.path if isinstance(source, LocalPath) else source
            raise UsageError(f"{told} names no single file", hint=_FOR_DIRECTORIES)
        try:
            one = Send(start.entry(key), target, "new")
        except BucketNotFound:
            raise
        except NotFound as error:
            raise NotFound(error.message, hint=_FOR_DIRECTORIES) from None
        if not key_filter(call.rules())(name):
            return iter(())
        sizes.append(one.source.size)
        return send_one(start, end, one, replace(options, content=call.content()), how)

    run(ctx, values, operations, lambda _: iter(sizes))


COMMANDS = (upload, download, sync, cp, mv)
