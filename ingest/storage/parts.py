"""A local file in parts: how large they are, and each as blocks that are read while it is sent."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.storage.etags import MIB, whole_mebibytes

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from io import FileIO
    from pathlib import Path

    from ingest.storage.attempts import Stop

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
            raise self._unreadable(error) from None
        if _identity(os.fstat(file.fileno())) != self.identity:
            file.close()
            raise self.changed()
        return file

    def read(self, file: FileIO, block: memoryview) -> int:
        """Read at most as much as ``block`` takes; return how much. Raises as ``open`` does."""
        try:
            count = file.readinto(block)
        except OSError as error:
            raise self._unreadable(error) from None
        if not count:
            raise self.changed()
        return count

    def check(self) -> None:
        """Raise as ``open`` does."""
        self.open().close()

    def changed(self) -> FileChanged:
        """Return the error for a file that changed."""
        return FileChanged(f"{self.what}: {self.path} changed while it was being read")

    def _unreadable(self, error: OSError) -> StoreError:
        return StoreError(f"{self.what}: cannot read {self.path}: {error.strerror}")


class PartReader:
    """Reads parts of a file for one thread, a block at a time, into memory of its own."""

    def __init__(self, source: Source, stop: Stop) -> None:
        """Read from ``source`` until the work is to ``stop``."""
        self._source = source
        self._stop = stop
        self._block = memoryview(bytearray(_BLOCK))

    def blocks(
        self, start: int, size: int, digest: hashlib._Hash
    ) -> Generator[memoryview, None, None]:
        """Yield the ``size`` bytes from ``start``, which ``digest`` is fed with as well.

        A block is good until the next one is asked for. Raises ``FileChanged`` where the file is
        another by now, ``StoreError`` where it cannot be read, ``Halt`` once the work is to end.
        """
        with self._source.open() as file:
            file.seek(start)
            while size:
                self._stop.check()
                count = self._source.read(file, self._block[:size])
                digest.update(self._block[:count])
                yield self._block[:count]
                size -= count

    def md5(self, start: int, size: int) -> bytes:
        """Return the MD5 of the ``size`` bytes from ``start``. Raises as ``blocks`` does."""
        digest = hashlib.md5(usedforsecurity=False)
        for _ in self.blocks(start, size, digest):
            pass
        return digest.digest()


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
