"""The options that commands share, and what is made of them."""

from __future__ import annotations

import functools
import os
import re
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import INTERRUPTED, briefly
from ingest.cli.interrupts import interruptible
from ingest.cli.text import printable
from ingest.errors import IngestError, UsageError
from ingest.planning.filters import Rule
from ingest.planning.names import read_names
from ingest.storage.providers import names
from ingest.storage.services import JOB_SCHEMES, S3

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.location import ObjectUrl
    from ingest.planning.names import Names
    from ingest.storage.base import Store, Transfer
    from ingest.storage.connection import Clients
    from ingest.storage.services import JobService, Service
    from ingest.uploader import Content

TALLY = "ingest.tally"
"""What a command's context has what was done so far under."""
_ASKED, _ORDER = "ingest.asked", "ingest.order"
_STYLES = {"path": True, "virtual": False}
# What a header of HTTP can carry.
_NAME, _VALUE = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"), re.compile(r"[\x20-\x7e]*")
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_REACHES_S3 = ("endpoint_url", "provider", "profile", "region", "addressing_style")
_WRITES_TO_S3 = ("storage_class", "sse", "sse_kms_key_id", "acl")
_MAKES_JOBS = ("job_name", "priority")


class Command(click.Command):
    """A command whose errors are one line and an exit code, never a traceback."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and keep in which order --include and --exclude came: the last match wins."""
        *_, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[_ORDER] = [each.name for each in order if each.name in {"include", "exclude"}]
        return super().parse_args(ctx, args)

    def end(self, ctx: click.Context, error: IngestError) -> None:
        """Write the last line of ``--json`` of what ``error`` has ended."""
        from ingest.cli.console import Tally, write_json

        write_json(ctx.meta.get(TALLY, Tally()).as_json(error))

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, and see that what it wrote arrives."""

        def cancel() -> None:
            if call := ctx.meta.get(_ASKED):
                call.cancelled.set()

        try:
            with interruptible(cancel):
                try:
                    result = super().invoke(ctx)
                except (IngestError, click.exceptions.Exit) as end:
                    if isinstance(end, IngestError) and ctx.params.get("as_json"):
                        self.end(ctx, end)
                    sys.stdout.flush()
                    raise
                sys.stdout.flush()
                return result
        except IngestError as error:
            click.echo(printable(f"error: {error}"), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            briefly(sys.stdout.flush)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            # Of stdout, but for a file that is named. What is left to write to it is dropped.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            # Where the reader went away, as `| head` does, there is nobody to tell anything.
            if not isinstance(error, BrokenPipeError):
                where = error.filename or "stdout"
                click.echo(f"error: cannot use {where}: {error.strerror or error}", err=True)
            ctx.exit(1)


class Summing(Command):
    """A command with a summary of its own, which tells by itself what is missing."""

    def end(self, ctx: click.Context, error: IngestError) -> None:
        """Write nothing more."""


class Size(click.ParamType[int]):
    """A number of bytes, such as 500K or 10M, in binary units."""

    name = "bytes"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Return the bytes."""
        text = str(value).upper().removesuffix("B").removesuffix("I")
        unit = _UNITS.get(text[-1:], 1)
        try:
            size = int(float(text if unit == 1 else text[:-1]) * unit)
        except (ValueError, OverflowError):
            size = 0
        if size < 1:
            self.fail(f"{value!r} should be a number of bytes such as 500K or 10M", param, ctx)
        return size


def _stack(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Return one decorator of many."""
    return lambda command: functools.reduce(lambda made, add: add(made), reversed(options), command)


connection_options = _stack(
    click.option("--endpoint-url", metavar="URL", help="S3 API that is not AWS's."),
    click.option("--provider", type=click.Choice(names()), help="By default the endpoint tells."),
    click.option("--profile", help="Profile of AWS's configuration files."),
    click.option("--region", help="Region to sign for."),
    click.option(
        "--addressing-style",
        type=click.Choice(_STYLES),
        help="Where the bucket's name goes: into the path, or before the host's name.",
    ),
)

output_options = _stack(
    click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout."),
    click.option("--quiet", is_flag=True, help="Show failures alone."),
)

pace_options = _stack(
    click.option(
        "--concurrency", type=click.IntRange(1, 256), default=16, show_default=True, metavar="N"
    ),
    click.option("--limit-rate", type=Size(), metavar="BYTES", help="Most bytes a second."),
    click.option(
        "--keep-partial/--no-keep-partial",
        default=None,
        help="What of a large file is there after a failure; kept by default, to go on from, "
        "but of a download not after Ctrl-C.",
    ),
)

transfer_options = _stack(
    connection_options,
    output_options,
    click.option("--dry-run", is_flag=True, help="Say what would be done; touch nothing."),
    click.option("--include", multiple=True, metavar="GLOB", help="Last match wins, see docs."),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Of keys below the directory."),
    pace_options,
    click.option("--fail-fast", is_flag=True, help="End with the first failure."),
    click.option("--follow-symlinks", is_flag=True, help="By default they are skipped, and told."),
    click.option("--empty-dirs", is_flag=True, help="Also directories that have no file."),
    click.option("--no-overwrite", is_flag=True, help="Leave what is there already."),
    click.option("--content-type", metavar="TYPE", help="By default the name's ending tells."),
    click.option("--metadata", multiple=True, metavar="NAME=VALUE", help="Of each object."),
    click.option(
        "--preserve",
        is_flag=True,
        help="Keep times, permissions and owner of files as metadata; give them back to files.",
    ),
    click.option("--storage-class", metavar="CLASS"),
    click.option("--sse", type=click.Choice(["AES256", "aws:kms", "aws:kms:dsse"])),
    click.option("--sse-kms-key-id", metavar="ID"),
    click.option("--acl", metavar="ACL", help="A canned one; none is sent by default."),
    click.option("--job-name", metavar="NAME", help="Of the jobs that ds3:// makes of it."),
    click.option("--priority", metavar="NAME", help="Of these jobs, such as HIGH."),
)


@dataclass(frozen=True)
class Asked:
    """The shared options of one call, as click gives them; Ctrl-C sets ``cancelled``."""

    values: dict[str, Any]
    order: tuple[str, ...] = ()
    cancelled: threading.Event = field(default_factory=threading.Event)
    _services: dict[str, JobService] = field(default_factory=dict)

    @functools.cached_property
    def clients(self) -> Clients:
        """The connection: what is given here wins over the environment."""
        from ingest.connecting import connection
        from ingest.storage.connection import Clients

        names = ("endpoint_url", "region", "provider", "profile")
        return Clients(
            connection(
                **{name: self.values[name] for name in names},
                path_style=_STYLES.get(self.values["addressing_style"]),
                spelled=lambda name: "--" + name.replace("_", "-"),
            )
        )

    def service(self, where: ObjectUrl) -> Service:
        """Return the service of ``where``. Raises ``UsageError`` and ``SettingsError``."""
        return self._s3 if where.scheme == S3 else self.job_service(where)

    def job_service(self, where: ObjectUrl) -> JobService:
        """Return the service of ``where``, which has jobs. Raises as ``service`` does."""
        from ingest.storage.services import open_service

        if where.scheme not in JOB_SCHEMES:
            raise UsageError(f"{where.scheme}:// has neither jobs nor tapes")
        if where.scheme not in self._services:
            job_name, priority = (self.values.get(name) for name in _MAKES_JOBS)
            made = open_service(where.scheme, job_name=job_name, priority=priority)
            self._services[where.scheme] = made
        return self._services[where.scheme]

    @functools.cached_property
    def _s3(self) -> Service:
        from ingest.s3_service import S3Service
        from ingest.storage.sending import Writing

        for name in ("content_type", *_WRITES_TO_S3):
            if not _VALUE.fullmatch(value := self.values.get(name) or ""):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} {value!r} should be printable ASCII")
        return S3Service(self.clients, Writing(*map(self.values.get, _WRITES_TO_S3)))

    def store(self, where: ObjectUrl) -> Store:
        """Return the store of the bucket of ``where``. Raises as ``service`` does."""
        return self.service(where).store(where.bucket)

    def rules(self) -> tuple[Rule, ...]:
        """Return --include and --exclude in the order in which they were given."""
        given = {name: iter(self.values[name]) for name in ("include", "exclude")}
        return tuple(Rule(name == "include", next(given[name])) for name in self.order)

    def names(self, *, of_files: bool) -> Names | None:
        """Return the names of --files-from; None without it. Raises ``UsageError``."""
        file = self.values["files_from"]
        if file is None:
            return None
        try:
            return read_names(file.read(), of_files=of_files)
        except OSError as error:
            raise UsageError(f"cannot read {file.name}: {error.strerror or error}") from None

    def content(self) -> Content:
        """Return what objects are written with."""
        from ingest.uploader import Content

        metadata = {}
        for pair in self.values["metadata"]:
            name, equals, value = pair.partition("=")
            if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
                raise UsageError(
                    f"--metadata {pair!r} should be NAME=VALUE, as a header can have it: in ASCII, "
                    f"the name without spaces"
                )
            metadata[name.lower()] = value
        return Content(self.values["content_type"], metadata)

    def transfer(self, moved: Callable[[int], None]) -> Transfer:
        """Return how to transfer; ``moved`` is called with the bytes of each step."""
        from ingest.pacing import ByteRate
        from ingest.storage.base import PLAIN, Transfer

        cancelled = self.cancelled
        pace = PLAIN.pace
        if limit := self.values.get("limit_rate"):
            rate = ByteRate(limit)

            def pace(size: int) -> None:
                cancelled.wait(rate.delay_s(size))

        return Transfer(
            threads=self.values["concurrency"],
            overwrite=not self.values.get("no_overwrite"),
            keep_partial=self.values["keep_partial"] is not False,
            keep_cancelled=self.values["keep_partial"] is True,
            preserve=bool(self.values.get("preserve")),
            moved=moved,
            pace=pace,
            cancelled=cancelled,
        )


def asked(ctx: click.Context, values: dict[str, Any]) -> Asked:
    """Return the shared options of the call that ``ctx`` is of.

    Raises ``UsageError`` for one that none of the services that are named has.
    """
    if _ASKED not in ctx.meta:
        _refuse_foreign(ctx, values)
        ctx.meta[_ASKED] = Asked(values, tuple(ctx.meta.get(_ORDER, ())))
    found: Asked = ctx.meta[_ASKED]
    return found


def _refuse_foreign(ctx: click.Context, values: dict[str, Any]) -> None:
    arguments = (each for each in ctx.command.params if isinstance(each, click.Argument))
    given = [str(ctx.params[each.name or ""]) for each in arguments]
    named = [text.partition("://")[0] for text in given if "://" in text] or [S3]
    for options, known, schemes in (
        (_REACHES_S3, {S3}, named),
        (_WRITES_TO_S3, {S3}, named[-1:]),
        (_MAKES_JOBS, {*JOB_SCHEMES}, named),
    ):
        for name in options:
            if values.get(name) is not None and known.isdisjoint(schemes):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is not for {' or '.join(schemes)}://")
