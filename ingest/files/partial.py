"""A large file that lands part by part, over several runs where need be."""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ingest.errors import StoreError
from ingest.files.paths import failure
from ingest.files.target import write_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from _typeshed import ReadableBuffer

_READ_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Part:
    """A range of a file: ``number`` counts from 0, ``offset`` and ``size`` are in bytes."""

    number: int
    offset: int
    size: int


def parts_of(size: int, part_size: int) -> tuple[Part, ...]:
    """Return the parts of a file of ``size`` bytes."""
    return tuple(
        Part(number, offset, min(part_size, size - offset))
        for number, offset in enumerate(range(0, size, part_size))
    )


class Destination(Protocol):
    """What becomes of a partial file in the end."""

    def finish(self, fd: int, size: int) -> bool:
        """Make the file of the first ``size`` bytes; False where one is there that is to stay."""

    def discard(self) -> None:
        """Remove what is there."""


@dataclass(eq=False, slots=True)
class Partial:
    """A file that lands part by part, in any order and from any number of threads.

    ``parts`` are all of it, ``missing`` those that were not there when it was opened. Behind the
    ``size`` bytes of content the partial file has a byte a part, set once the part is written: so
    a later run knows what is missing, even after this one was killed.
    """

    where: str
    size: int
    parts: tuple[Part, ...]
    missing: tuple[Part, ...]
    _target: Destination
    _fd: int
    _release: Callable[[], None]
    _resumable: bool
    _left: set[int]
    _ended: bool = field(default=False, init=False)
    _users: int = field(default=1, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def write_part(self, part: Part, chunks: Iterable[ReadableBuffer]) -> None:
        """Write one of ``missing``; what ``chunks`` raises is passed on.

        Raises ``StoreError`` where they have not exactly the part's size, or the file was ended.
        """
        offset, end = part.offset, part.offset + part.size
        for chunk in chunks:
            size = memoryview(chunk).nbytes
            if offset + size > end:
                raise StoreError(
                    f"cannot write {self.where!r}: more came than the {part.size} bytes"
                )
            self._put(chunk, offset)
            offset += size
        if offset != end:
            came = offset - part.offset
            raise StoreError(f"cannot write {self.where!r}: {came} of {part.size} bytes came")
        self._put(b"\1", self.size + part.number)
        with self._lock:
            self._left.discard(part.number)

    def read_part(self, part: Part) -> Iterator[bytes]:
        """Yield the content of a part that was written. Raises as ``write_part`` does."""
        for start in range(0, part.size, _READ_BYTES):
            size = min(_READ_BYTES, part.size - start)
            with self._used():
                piece = os.pread(self._fd, size, part.offset + start)
            yield piece

    def commit(self, *, check: Callable[[Iterator[bytes]], None] | None = None) -> bool:
        """Give the complete file its name; returns False as ``Landing.write`` does.

        ``check`` reads the content and raises where it is wrong. A failure discards the partial
        file, lest a later run go on with it. Raises ``StoreError`` where parts are missing.
        """
        if self._left or self._ended:
            state = "it was ended" if self._ended else f"{len(self._left)} parts are missing"
            raise StoreError(f"cannot complete {self.where!r}: {state}")
        try:
            if check:
                check(_content(self._fd, self.size))
            landed = self._target.finish(self._fd, self.size)
        except Exception as error:
            self.discard()
            if isinstance(error, OSError):
                raise failure(self.where, error) from None
            raise
        self._end(keep=True)
        return landed

    def discard(self) -> None:
        """Remove the partial file; a part still being written ends with an error."""
        self._end(keep=False)

    def close(self) -> None:
        """Leave the partial file to a later run, or remove it where there is nothing to keep."""
        self._end(keep=self._resumable and len(self._left) < len(self.parts))

    def _put(self, content: ReadableBuffer, offset: int) -> None:
        with self._used():
            write_at(self._fd, content, offset)

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """Keep the file open meanwhile; translate the errors. Raises where it was ended."""
        with self._lock:
            if self._ended:
                raise StoreError(f"cannot write {self.where!r}: it was ended")
            self._users += 1
        try:
            yield
        except OSError as error:
            raise failure(self.where, error) from None
        finally:
            self._leave()

    def _end(self, *, keep: bool) -> None:
        with self._lock:
            if self._ended:
                return
            self._ended = True
        if not keep:
            self._target.discard()
        self._leave()

    def _leave(self) -> None:
        """Close with the last user: a descriptor closed under a writer may be another file's."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        os.close(self._fd)
        self._release()


def missing_parts(fd: int, size: int, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Read which parts are marked as written; a file of another length is begun anew."""
    if os.fstat(fd).st_size == size + len(parts):
        marks = os.pread(fd, len(parts), size)
        return tuple(part for part in parts if marks[part.number] != 1)
    os.ftruncate(fd, 0)
    os.ftruncate(fd, size + len(parts))
    return parts


def _content(fd: int, size: int) -> Iterator[bytes]:
    for offset in range(0, size, _READ_BYTES):
        yield os.pread(fd, min(_READ_BYTES, size - offset), offset)
