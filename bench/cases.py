"""What is measured: each case with its contestants, its goals, and a check of every run."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tools
from files import MIB, SMALL, check_same, expect, write_large, write_small, write_unchanged
from measuring import BENCH, Finished, S3Server, finish, s3_server, server, take_turns
from tools import ONE, PREFIX, Command, Job, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from peers import Peers

OURS = "ingest"
FASTEST = "the fastest peer"

_MOST_MILLIONS = 3
"""Runs that are enough for a peak of memory, where each takes long."""
Tool = Callable[[Job], Command | None]
Results = dict[str, list[Finished]]


@dataclass(frozen=True, slots=True)
class Goal:
    """What ``ours`` measured is at most ``most`` times what ``beside`` did; or ``most``, alone."""

    measure: Literal["seconds", "cpu_seconds", "peak_mb"]
    most: float
    beside: str | None = None
    ours: str = OURS


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is of everything; ``large`` is in bytes."""

    small: int = 5_000
    large: int = 1024**3
    unchanged: int = 100_000
    fewest: int = 10_000
    most: int = 1_000_000


SHORT = Sizes(small=50, large=32 * 1024**2, unchanged=300, fewest=1_000, most=3_000)


@dataclass(frozen=True, slots=True)
class Bench:
    """What the cases have in common; ``scratch`` is best in memory, so that no disk counts."""

    scratch: Path
    peers: Peers
    sizes: Sizes
    runs: int
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def contestants(self, kind: Kind) -> dict[str, Tool]:
        """Return the tools that can do it, ours first."""
        every: dict[str, Tool] = {
            OURS: tools.ours,
            "s5cmd": functools.partial(tools.s5cmd, self.peers.s5cmd),
            "rclone": functools.partial(tools.rclone, self.peers.rclone),
            "aws-cli": functools.partial(tools.aws, self.peers.aws),
            "boto3": functools.partial(tools.boto3, self.peers.python),
            "boto3, MD5 compared": functools.partial(tools.boto3_checked, self.peers.python),
        }
        some = Job(kind, "ENDPOINT", "BUCKET", Path("DIR"))
        return {name: tool for name, tool in every.items() if tool(some)}

    def take_turns(self, kind: Kind, measure: Callable[[Tool], Finished]) -> Results:
        """Measure every tool that can do it."""
        able = self.contestants(kind).items()
        return take_turns(
            {name: functools.partial(measure, tool) for name, tool in able}, self.runs
        )

    def finish(self, tool: Tool, job: Job) -> Finished:
        """Run the tool's command for ``job``."""
        command = tool(job)
        if command is None:
            raise RuntimeError(f"there is no command for {job.kind}")
        return finish(command.arguments, command.environment(self.scratch), self.scratch)

    def number(self) -> int:
        """Return another number each time."""
        return next(self.numbers)

    def serve(self) -> contextlib.AbstractContextManager[S3Server]:
        """Serve S3 from memory."""
        return s3_server(self.peers.rclone)

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """Make a directory, and remove it with all that is in it."""
        path = self.scratch / f"directory-{self.number()}"
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path)


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table of goals; ``kind`` is what its commands are shown for."""

    name: str
    title: str
    kind: Kind
    measure: Callable[[Bench, Kind], Results]
    goals: tuple[Goal, ...]


def _upload(write: Callable[[Path, Sizes], None]) -> Callable[[Bench, Kind], Results]:
    """Each run into a server of its own: what one left there is in nobody's way."""

    def measure(bench: Bench, kind: Kind) -> Results:
        with bench.directory() as source:
            write(source, bench.sizes)
            files = [path for path in source.rglob("*") if path.is_file()]
            expected = len(files), sum(path.stat().st_size for path in files)

            def one(tool: Tool) -> Finished:
                with bench.serve() as store:
                    store.rclone("mkdir", "bench")
                    finished = bench.finish(tool, Job(kind, store.endpoint, "bench", source))
                    expect("objects, and bytes", store.size(f"bench/{PREFIX}"), expected)
                return finished

            return bench.take_turns(kind, one)

    return measure


_IN_PARTS = ("--s3-upload-cutoff=16M", "--s3-chunk-size=16M")


def _download(write: Callable[[Path, Sizes], None]) -> Callable[[Bench, Kind], Results]:
    def measure(bench: Bench, kind: Kind) -> Results:
        with bench.directory() as source, bench.serve() as store:
            write(source, bench.sizes)
            store.rclone("mkdir", "bench")
            store.rclone_copy(source, f"bench/{PREFIX}", "--transfers=16", *_IN_PARTS)

            def one(tool: Tool) -> Finished:
                with bench.directory() as target:
                    finished = bench.finish(tool, Job(kind, store.endpoint, "bench", target))
                    check_same(source, target)
                return finished

            return bench.take_turns(kind, one)

    return measure


def _sync(bench: Bench, kind: Kind) -> Results:
    with bench.directory() as local, bench.serve() as store:
        write_unchanged(local, bench.sizes.unchanged, 1)
        store.rclone("mkdir", "bench")
        store.rclone_copy(local, f"bench/{PREFIX}", "--transfers=16", "--no-check-dest")
        expected = bench.sizes.unchanged, bench.sizes.unchanged
        expect("objects, and bytes", store.size(f"bench/{PREFIX}"), expected)

        def one(tool: Tool) -> Finished:
            finished = bench.finish(tool, Job(kind, store.endpoint, "bench", local))
            _check_nothing_done(finished)
            return finished

        return bench.take_turns(kind, one)


def _check_nothing_done(finished: Finished) -> None:
    """Raise ``RuntimeError`` where a tool told of something that it sent.

    Each prints a line for what it does: rclone on stderr, where it also says that there was
    nothing, as we do.
    """
    expect("what a sync of the same did", finished.output[:500], "")
    if finished.errors and "nothing to" not in finished.errors:
        raise RuntimeError(f"a sync of the same said: {finished.errors[:500]}")


@contextlib.contextmanager
def _listing_server(objects: int) -> Iterator[str]:
    command = [sys.executable, str(BENCH / "listing_server.py"), "--objects", str(objects)]
    with server(command, "http://") as line:
        yield line.strip()


def _amount(objects: int) -> str:
    return f"{OURS}, {objects:,} objects"


def _growth(bench: Bench, kind: Kind) -> Results:
    """From one bucket of the listing server to another: no files are needed, only listings."""
    with contextlib.ExitStack() as stack:
        able = {}
        for objects in (bench.sizes.fewest, bench.sizes.most):
            endpoint = stack.enter_context(_listing_server(objects))
            job = Job(kind, endpoint, "", bench.scratch)
            able[_amount(objects)] = functools.partial(_sync_of_nothing, bench, job)
        return take_turns(able, min(bench.runs, _MOST_MILLIONS))


def _growth_with_files(bench: Bench, kind: Kind) -> Results:
    """From files that are nothing but a name, a size and a time, to the listing server."""
    with contextlib.ExitStack() as stack:
        able = {}
        for objects in (bench.sizes.fewest, bench.sizes.most):
            endpoint = stack.enter_context(_listing_server(objects))
            local = stack.enter_context(bench.directory())
            write_unchanged(local, objects, SMALL)
            job = Job(kind, endpoint, "bench", local)
            able[_amount(objects)] = functools.partial(_sync_of_nothing, bench, job)
        return take_turns(able, min(bench.runs, _MOST_MILLIONS))


def _sync_of_nothing(bench: Bench, job: Job) -> Finished:
    finished = bench.finish(tools.ours, job)
    _check_nothing_done(finished)
    return finished


def _start(bench: Bench, kind: Kind) -> Results:
    with bench.directory() as source, bench.serve() as store:
        (source / ONE).write_bytes(b"x")
        store.rclone("mkdir", "bench")
        store.rclone_copy(source, f"bench/{PREFIX}")
        job = Job(kind, store.endpoint, "bench", source)

        def one(tool: Tool) -> Finished:
            finished = bench.finish(tool, job)
            said = (finished.output + finished.errors).lower()
            if not any(word in said for word in _SAYS[kind]):
                raise RuntimeError(f"{kind} said: {said[:500]}")
            return finished

        return bench.take_turns(kind, one)


_SAYS: dict[Kind, tuple[str, ...]] = {"help": ("usage", "synopsis"), "ls": (ONE,)}


def _small(directory: Path, sizes: Sizes) -> None:
    write_small(directory, sizes.small)


def _large(directory: Path, sizes: Sizes) -> None:
    write_large(directory, sizes.large)


def cases(sizes: Sizes, *, full: bool) -> list[Case]:
    """Return the cases in order, with their goals; ``full`` adds the million local files."""
    small, large = f"{sizes.small:,} x 4 KiB", f"one file of {sizes.large // MIB:,} MiB"
    same = f"sync of {sizes.unchanged:,} unchanged objects"
    growing = f"peak memory of a sync of {sizes.fewest:,} and of {sizes.most:,} unchanged objects"
    growth = (Goal("peak_mb", 1.3, _amount(sizes.fewest), _amount(sizes.most)),)
    found = [
        Case("upload-small", f"upload of {small}", "upload", _upload(_small), _UPLOAD),
        Case("download-small", f"download of {small}", "download", _download(_small), _DOWNLOAD),
        Case("upload-large", f"upload of {large}", "upload-one", _upload(_large), _LARGE),
        Case("download-large", f"download of {large}", "download-one", _download(_large), _LARGE),
        Case("sync-up", f"{same}, files to store", "sync-up", _sync, _SYNC),
        Case("sync-down", f"{same}, store to files", "sync-down", _sync, _SYNC),
        Case("memory", f"{growing}, bucket to bucket", "sync-stores", _growth, growth),
        Case("help", "help, start to end", "help", _start, _START),
        Case("ls", "list of one key, start to end", "ls", _start, _START),
    ]
    if full:
        title = f"{growing}, files to store"
        found.append(Case("memory-files", title, "sync-listed", _growth_with_files, growth))
    return found


_UPLOAD = (
    Goal("seconds", 0.8, "s5cmd"),
    Goal("cpu_seconds", 0.7, "s5cmd"),
    Goal("seconds", 0.15, "boto3"),
    Goal("seconds", 0.15, "aws-cli"),
)
_DOWNLOAD = (Goal("seconds", 0.8, "s5cmd"),)
_LARGE = (Goal("seconds", 1.05, FASTEST), Goal("peak_mb", 150))
_SYNC = (
    Goal("seconds", 0.4, "s5cmd"),
    Goal("seconds", 0.2, "aws-cli"),
    Goal("seconds", 1.0, "rclone"),
    Goal("peak_mb", 120),
)
_START = (Goal("seconds", 0.35), Goal("seconds", 1.0, "aws-cli"))
