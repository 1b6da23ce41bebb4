"""What the command shows: operations as they come, progress on a terminal, a summary at the end."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest.errors import BucketNotFound, CredentialsRefused, IngestError, NotFound
from ingest.storage.base import Prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from ingest.location import ObjectUrl
    from ingest.operation import Operation
    from ingest.storage.base import Entry

EXIT_SOME_FAILED = 1


def human_size(size: float) -> str:
    """Return ``size`` bytes in binary units, such as ``1.5 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:  # noqa: PLR2004 - what a binary unit is
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


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

    def as_json(self) -> dict[str, Any]:
        """Return the summary as the last line of ``--json``."""
        seconds = time.monotonic() - self.started
        return {
            "summary": {
                **{status: self.by_status[status] for status in ("done", "skipped", "failed")},
                "planned": self.by_status["planned"],
                "operations": dict(self.by_verb),
                "bytes": self.size,
                "seconds": round(seconds, 3),
            }
        }

    def __str__(self) -> str:
        """Return the summary as one line for a person."""
        past = {"upload": "uploaded", "download": "downloaded", "copy": "copied"}
        past |= {"delete": "deleted", "scan": "scanned", "verify": "verified", "abort": "aborted"}
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
        seconds = time.monotonic() - self.started
        rate = "" if planned else f" in {seconds:.1f} s"
        return f"{', '.join(told) or 'nothing to do'}; {human_size(self.size)}{rate}"


class Reporter:
    """Shows the operations of one command, and ends with its exit code.

    With ``as_json`` stdout gets one object a line and nothing else. ``quiet`` shows failures
    alone. Otherwise a terminal shows progress, and anything else a plain line an operation.
    """

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        """Show nothing yet."""
        self._as_json = as_json
        self._quiet = quiet
        self.tally = Tally()
        self._live: Live | None = None
        if not as_json and not quiet and sys.stderr.isatty():
            self._live = Live()

    @property
    def moved(self) -> Callable[[int], None]:
        """What is to be called with the bytes of each step."""
        return self._live.moved if self._live else _ignore

    def show(self, operations: Iterable[Operation], sizes: Iterator[int]) -> int:
        """Show ``operations`` as they are done, then a summary; return the exit code.

        ``sizes`` yields how many bytes there are, growing, for the time that is left. It is read
        only where that is shown.
        """
        with self._live or _Nothing() as live:
            if isinstance(live, Live):
                live.expect(sizes)
            try:
                for operation in operations:
                    self._count(operation)
                    if isinstance(live, Live):
                        live.count()
            except IngestError:
                if self._as_json:
                    self.summary()
                raise
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

    def _one(self, operation: Operation) -> None:
        if self._as_json:
            write_json(operation.as_json())
        elif operation.status == "failed":
            self._write(sys.stderr, str(operation))
        elif not self._quiet and (self._live is None or operation.status != "done"):
            self._write(sys.stdout, str(operation))

    def _write(self, stream: Any, line: str) -> None:
        if self._live:
            self._live.line(line)
        else:
            stream.write(printable(line) + "\n")


def printable(text: str) -> str:
    """Return ``text`` on one line, with what a terminal cannot show or would obey escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def show_entry(item: Entry | Prefix, where: ObjectUrl, *, as_json: bool) -> None:
    """Show one item of a listing."""
    url = f"s3://{where.bucket}/{item.key}"
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


def _is_of_the_whole(operation: Operation, tally: Tally) -> IngestError | None:
    """Return the first failure where every other would be the same."""
    error = operation.error
    if tally.by_status["done"] or not isinstance(error, CredentialsRefused | BucketNotFound):
        return None
    return None if "AccessDenied" in str(error) else error


def _ignore(_: int) -> None:
    pass


class _Nothing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Live:
    """Progress on a terminal: bytes, files, rate and time left."""

    def __init__(self) -> None:
        """Draw nothing yet."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.fields[files]:,} files"),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, files=0)
        self._files = 0
        self._size = 0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Take the progress away."""
        self._ended.set()
        self._progress.stop()

    def expect(self, sizes: Iterator[int]) -> None:
        """Read ``sizes`` in the background, for as long as this is shown."""

        def read() -> None:
            for size in sizes:
                self._size = size
                if self._ended.is_set():
                    return
            self._progress.update(self._task, total=self._size)

        threading.Thread(target=read, daemon=True).start()

    def moved(self, size: int) -> None:
        """Count ``size`` more bytes."""
        self._progress.advance(self._task, size)

    def count(self) -> None:
        """Count one more file."""
        self._files += 1
        self._progress.update(self._task, files=self._files)

    def line(self, text: str) -> None:
        """Show a line above the progress."""
        self._progress.console.print(printable(text), markup=False, highlight=False)
