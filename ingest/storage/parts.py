"""A local file in parts: how large they are, and each as a body that is read while it is sent."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.storage.etags import MIB, whole_mebibytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import FileIO
    from pathlib import Path

_BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class PartLimits:
    """What a store allows, in bytes and parts (the defaults are S3's), and the size preferred."""

    preferred: int = 16 * MIB
    smallest: int = 5 * MIB
    largest: int = 5120 * MIB
    most_parts: int = 10_000
    largest_object: int = 5 * MIB * MIB

    @property
    def largest_file(self) -> int:
        """The most bytes that an object in parts can have."""
        return min(self.largest_object, self.most_parts * self.largest)


def part_size(size: int, limits: PartLimits) -> int:
    """Return the part size for a file of ``size`` bytes, at most ``limits.largest_file``.

    It is the preferred one, or as many whole mebibytes as it takes to need no more than the
    parts allowed.
    """
    enough = whole_mebibytes(-(-size // limits.most_parts))
    return min(max(limits.preferred, limits.smallest, enough), limits.largest)


def part_size_of(sizes: Mapping[int, int], size: int, limits: PartLimits) -> int | None:
    """Return in what part size parts of these ``sizes`` are of a file of ``size`` bytes.

    ``sizes`` are in bytes, by part number. All parts but the last have the same size; which ones
    were sent is a matter of chance, so that the last may be the only one. None where there are
    none, or where they fit no part size that the limits allow.
    """
    if not sizes:
        return None
    last = max(sizes)
    guesses = [max(sizes.values())]
    before = size - sizes[last]
    if last > 1 and before % (last - 1) == 0:
        guesses.append(before // (last - 1))
    for guess in guesses:
        parts = -(-size // guess) if guess > 0 else 0
        allowed = parts <= limits.most_parts and (parts == 1 or guess >= limits.smallest)
        if allowed and all(
            number <= parts and each == min(guess, size - (number - 1) * guess)
            for number, each in sizes.items()
        ):
            return guess
    return None


class FileChanged(StoreError):
    """The file is not what it was when its upload began."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when its upload began; ``what`` begins the text of every error."""

    path: Path
    what: str
    size: int
    identity: tuple[int, int, int]

    @classmethod
    def of(cls, path: Path, what: str) -> Source:
        """Look at the file. Raises ``StoreError`` where that fails."""
        try:
            status = path.stat()
        except OSError as error:
            raise StoreError(f"{what}: cannot read {path}: {error.strerror}") from None
        return cls(path, what, status.st_size, _identity(status))

    def open(self) -> FileIO:
        """Open the file. Raises ``FileChanged`` where it is another by now, or ``StoreError``."""
        try:
            file = self.path.open("rb", buffering=0)
        except FileNotFoundError:
            raise self.changed() from None
        except OSError as error:
            raise StoreError(f"{self.what}: cannot read {self.path}: {error.strerror}") from None
        if _identity(os.fstat(file.fileno())) != self.identity:
            file.close()
            raise self.changed()
        return file

    def check(self) -> None:
        """Raise as ``open`` does."""
        self.open().close()

    def changed(self) -> FileChanged:
        """Return the error for a file that changed."""
        return FileChanged(f"{self.what}: {self.path} changed while it was being read")


class Halt(BaseException):
    """Ends a request from within its body; what is an ``Exception`` there, botocore repeats."""


class Stop:
    """Ends the work of several threads: after the first failure, or when the caller cancels."""

    def __init__(self, cancelled: threading.Event) -> None:
        """Take the caller's event."""
        self._cancelled = cancelled
        self._failed = threading.Event()
        self.failure: BaseException | None = None

    def fail(self, failure: BaseException) -> None:
        """End the work; the first failure is kept."""
        self.failure = self.failure or failure
        self._failed.set()

    def check(self) -> None:
        """Raise ``Halt`` once the work is to end."""
        if self._failed.is_set() or self._cancelled.is_set():
            raise Halt

    def pause(self, seconds: float) -> None:
        """Wait; raise ``Halt`` soon after the work is to end."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            self._failed.wait(min(left, 0.2))
        self.check()


class Window:
    """A part of a file, as a file. It is read again for each attempt, and never held whole."""

    def __init__(self, file: FileIO, start: int, size: int, source: Source, stop: Stop) -> None:
        """``file`` is no other window's; the part begins at ``start`` and has ``size`` bytes."""
        self._file = file
        self._start = start
        self.size = size
        self._at = 0
        self._source = source
        self._stop = stop

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes; raise ``Halt`` once the work is to end."""
        self._stop.check()
        left = self.size - self._at
        wanted = left if size < 0 else min(left, size)
        block = self._file.read(wanted)
        if wanted and not block:
            self._stop.fail(self._source.changed())
            raise Halt
        self._at += len(block)
        return block

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move within the part, as a file's ``seek`` does."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        self._at = base + offset
        self._file.seek(self._start + self._at)
        return self._at

    def tell(self) -> int:
        """Return the position within the part."""
        return self._at

    def md5(self) -> bytes:
        """Return the MD5 of the whole part."""
        self.seek(0)
        digest = hashlib.md5(usedforsecurity=False)
        while block := self.read(_BLOCK):
            digest.update(block)
        return digest.digest()


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
