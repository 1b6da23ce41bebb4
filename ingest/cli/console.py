"""What the command shows: operations as they come, progress on a terminal, a summary at the end."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from ingest.cli.text import human_size, printable
from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    IngestError,
    NotFound,
    StoreUnreachable,
)
from ingest.storage.base import Prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.cli.progress import Live
    from ingest.location import ObjectUrl
    from ingest.operation import Operation
    from ingest.storage.base import Entry
    from ingest.storage.versions import Version

EXIT_SOME_FAILED = 1


def write_json(fields: dict[str, Any]) -> None:
    """Write one object on one line of stdout."""
    text = json.dumps(fields, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # a file name that is no UTF-8, or a terminal that has none
        text = json.dumps(fields)
    sys.stdout.write(text + "\n")


@dataclass
class Tally:
    """What a transfer has come to so far."""

    done: int = 0
    size: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_verb: Counter[str] = field(default_factory=Counter)
    failures: list[Exception] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def add(self, operation: Operation) -> None:
        """Count ``operation``."""
        self.by_status[operation.status] += 1
        if operation.status in {"done", "planned"}:
            self.by_verb[operation.verb] += 1
            self.size += operation.size
        if operation.error and len(self.failures) < 1000:  # noqa: PLR2004 - enough to tell the kind
            self.failures.append(operation.error)

    @property
    def exit_code(self) -> int:
        """0 where nothing failed; where nothing succeeded, what all failures share; else 1."""
        if not self.by_status["failed"]:
            return 0
        if not self.by_status["done"]:
            for kind in (CredentialsRefused, NotFound):
                if all(isinstance(failure, kind) for failure in self.failures):
                    return kind.exit_code
        return EXIT_SOME_FAILED

    def as_json(self, ended_by: IngestError | None = None) -> dict[str, Any]:
        """Return the summary as the last line of ``--json``, with what ended the whole."""
        seconds = time.monotonic() - self.started
        error = {"error": str(ended_by)} if ended_by else {}
        return {
            "summary": {
                **{status: self.by_status[status] for status in ("done", "skipped", "failed")},
                "planned": self.by_status["planned"],
                "operations": dict(self.by_verb),
                "bytes": self.size,
                "seconds": round(seconds, 3),
                **error,
            }
        }

    def __str__(self) -> str:
        """Return the summary as one line for a person."""
        past = {"upload": "uploaded", "download": "downloaded", "copy": "copied"}
        past |= {"delete": "deleted", "scan": "scanned", "verify": "verified", "abort": "aborted"}
        past |= {"make": "made", "remove": "removed"}
        planned = self.by_status["planned"]
        told = [
            f"{count:,} {'to ' + verb if planned else past[verb]}"
            for verb, count in self.by_verb.items()
        ]
        told += [
            f"{self.by_status[status]:,} {status}"
            for status in ("skipped", "failed")
            if self.by_status[status]
        ]
        if not told:
            return "nothing to do"
        size = f"; {human_size(self.size)}" if self.size else ""
        took = "" if planned else f" in {time.monotonic() - self.started:.1f} s"
        return f"{', '.join(told)}{size}{took}"


class Reporter:
    """Shows the operations of one command, and ends with its exit code.

    With ``as_json`` stdout gets one object a line and nothing else. ``quiet`` shows failures
    alone. Otherwise a terminal shows progress on stderr, and what is not a terminal gets a plain
    line an operation on stdout.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        """Show nothing yet."""
        self._as_json = as_json
        self._quiet = quiet
        self.tally = Tally()
        self._live: Live | None = None
        if not as_json and not quiet and sys.stderr.isatty():
            from ingest.cli.progress import Live

            self._live = Live()
        # Where progress is shown in the same place, what is done would only get into its way.
        self._tells_done = self._live is None or not sys.stdout.isatty()

    @property
    def moved(self) -> Callable[[int], None]:
        """What is to be called with the bytes of each step."""
        return self._live.moved if self._live else _ignore

    def show(self, operations: Iterable[Operation], sizes: Iterator[int]) -> int:
        """Show ``operations`` as they are done, then a summary; return the exit code.

        What ends the whole is raised, without a summary.
        ``sizes`` yields how many bytes there are, growing, for the time that is left. It is read
        only where that is shown.
        """
        with self._live or nullcontext() as live:
            if live:
                live.expect(sizes)
            for operation in operations:
                self._count(operation)
                if live:
                    live.count()
        self.summary()
        return self.tally.exit_code

    def _count(self, operation: Operation) -> None:
        """Show one operation. Raises its error where it is of the whole, not of this one."""
        self.tally.add(operation)
        hopeless = _is_of_the_whole(operation, self.tally)
        if self._as_json or not hopeless:
            self._one(operation)
        if hopeless:
            raise hopeless

    def summary(self) -> None:
        """Show what it has come to."""
        if self._as_json:
            write_json(self.tally.as_json())
        elif not self._quiet:
            sys.stderr.write(f"{self.tally}\n")

    def interrupted(self) -> None:
        """Say, when Ctrl-C has stopped everything, what is there and how to go on."""
        if self._as_json:
            write_json(self.tally.as_json() | {"interrupted": True})
        done = f"{self.tally.by_status['done']:,} done"
        sys.stderr.write(f"interrupted: {done}; the rest is left to do, by the same command\n")
        sys.stdout.flush()

    def _one(self, operation: Operation) -> None:
        if self._as_json:
            write_json(operation.as_json())
        elif operation.status == "failed":
            self._write(sys.stderr, str(operation))
        elif not self._quiet and (self._tells_done or operation.status != "done"):
            self._write(sys.stdout, str(operation))

    def _write(self, stream: TextIO, line: str) -> None:
        if self._live and stream.isatty():
            self._live.line(line)
        else:
            stream.write(printable(line) + "\n")


def show_entry(item: Entry | Prefix, where: ObjectUrl, *, as_json: bool) -> None:
    """Show one item of a listing."""
    url = where.of(item.key)
    if isinstance(item, Prefix):
        if as_json:
            write_json({"type": "directory", "url": url, "key": item.key})
        else:
            sys.stdout.write(f"{'':20}{'DIR':>14}  {printable(item.key)}\n")
        return
    moment = datetime.fromtimestamp(item.modified, UTC)
    if as_json:
        fields = {"type": "object", "url": url, "key": item.key, "size": item.size}
        written = moment.isoformat().replace("+00:00", "Z")
        write_json({**fields, "modified": written, "etag": item.etag})
    else:
        sys.stdout.write(f"{moment:%Y-%m-%d %H:%M:%S}Z{item.size:>14}  {printable(item.key)}\n")


def show_version(version: Version, where: ObjectUrl, *, as_json: bool) -> None:
    """Show one version of an object."""
    at = None if version.modified is None else datetime.fromtimestamp(version.modified, UTC)
    if as_json:
        kind = "delete marker" if version.marker else "version"
        fields = {"type": kind, "url": where.of(version.key), "key": version.key}
        written = at.isoformat().replace("+00:00", "Z") if at else None
        told = {"size": version.size, "modified": written, "version_id": version.id}
        write_json({**fields, **told, "latest": version.latest})
    else:
        moment = f"{at:%Y-%m-%d %H:%M:%S}Z" if at else ""
        size = "deleted" if version.marker else version.size
        state = "latest" if version.latest else "older"
        shown = f"{version.id or '-'}  {state:6}  {printable(version.key)}"
        sys.stdout.write(f"{moment:20}{size:>14}  {shown}\n")


def _is_of_the_whole(operation: Operation, tally: Tally) -> IngestError | None:
    """Return the first failure where every other would be the same."""
    error = operation.error
    of_the_whole = CredentialsRefused | BucketNotFound | StoreUnreachable
    if tally.by_status["done"] or not isinstance(error, of_the_whole):
        return None
    return None if "AccessDenied" in str(error) else error


def _ignore(_: int) -> None:
    pass
