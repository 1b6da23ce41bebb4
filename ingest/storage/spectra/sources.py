"""What is to be written: bytes, or a file that has to stay as it was."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.storage.base import PutItem

_BLOCK = 1024**2
# A pipe that has taken the file's place would be waited for.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0)

Version = tuple[int, int, int]


class SourceFailed(StoreError):
    """What is to be written cannot be read, or changed meanwhile; to try again is no use."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """Content that is held in memory."""

    content: bytes

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return len(self.content)

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield a part of it, in one piece."""
        yield self.content[offset : offset + length]


@dataclass(frozen=True, slots=True)
class File:
    """A file, as it was when its upload began."""

    path: Path
    version: Version

    @property
    def size(self) -> int:
        """How many bytes it had."""
        return self.version[0]

    @property
    def modified(self) -> float:
        """When it was last written, in seconds of Unix time."""
        return self.version[1] / 1e9

    def read(self, offset: int, length: int) -> Iterator[bytes]:
        """Yield a part of it, in pieces of at most 1 MiB; the file is opened each time.

        The last piece comes only once the file is seen to be the same still: who sends what it
        gets has not sent all of it else. Raises ``SourceFailed`` where it is not, or not readable.
        """
        try:
            file = os.open(self.path, _FLAGS)
        except FileNotFoundError:
            raise self._changed() from None
        except OSError as error:
            raise SourceFailed(f"cannot read {self.path}: {error.strerror}") from None
        try:
            self._check(file)
            end = offset + length
            while offset < end:
                piece = os.pread(file, min(_BLOCK, end - offset), offset)
                offset += len(piece)
                if not piece or offset == end:
                    self._check(file, is_whole=bool(piece))
                yield piece
        except OSError as error:
            raise SourceFailed(f"cannot read {self.path}: {error.strerror}") from None
        finally:
            os.close(file)

    def _check(self, file: int, *, is_whole: bool = True) -> None:
        if not is_whole or version_of(os.fstat(file)) != self.version:
            raise self._changed()

    def _changed(self) -> SourceFailed:
        return SourceFailed(f"{self.path} changed while it was read")


Source = Bytes | File


def source_of(item: PutItem) -> Source:
    """Return where the content of ``item`` is; where there is ``item.stat``, the file it is of.

    Raises ``SourceFailed`` where it cannot be looked at.
    """
    if isinstance(item.source, bytes):
        return Bytes(item.source)
    if item.stat:
        return File(item.source, version_of(item.stat))
    try:
        return File(item.source, version_of(item.source.stat()))
    except OSError as error:
        raise SourceFailed(f"cannot read {item.source}: {error.strerror}") from None


def version_of(stat: os.stat_result) -> Version:
    """Return what differs between a file and another, or itself once it was written to."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
