"""An object that lands in parts: its blobs come in any order, and some may be there already."""

from __future__ import annotations

import base64
import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.files.partial import Part
from ingest.storage.spectra import checksums
from ingest.storage.spectra.checksums import Mismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.files.attributes import Attributes
    from ingest.files.landing import Landing
    from ingest.files.partial import Partial
    from ingest.storage.base import GetItem
    from ingest.storage.spectra.documents import Blob
    from ingest.storage.spectra.heads import ObjectHead

_LARGEST_PART = 64 * 1024**2
_MOST_PARTS = 1_000_000


def part_size(blobs: Iterable[Blob]) -> int:
    """Return in parts of how many bytes an object of these blobs lands: each blob begins one.

    Raises ``StoreError`` where that would be too many.
    """
    blobs = list(blobs)
    size = sum(blob.length for blob in blobs)
    step = math.gcd(*(blob.offset for blob in blobs)) or size
    wanted = -(-step // _LARGEST_PART)
    pieces = next((count for count in range(wanted, 16 * wanted) if step % count == 0), 1)
    if len(blobs) == 1:
        return min(step, _LARGEST_PART)
    if size // (step // pieces) > _MOST_PARTS:
        raise StoreError(f"its {len(blobs):,} blobs begin at odd places: {step} bytes apart")
    return step // pieces


class Landed:
    """A file under way, from any number of threads; its partial file is open while one is at it."""

    def __init__(
        self,
        landing: Landing,
        item: GetItem,
        blobs: list[Blob],
        identity: str,
        attributes: Callable[[], Attributes],
    ) -> None:
        """Open nothing yet. ``identity`` tells this content from any other. May raise as above.

        ``attributes`` is asked for those of the file when it is begun, and may raise as well.
        """
        self._landing = landing
        self._item = item
        self._blobs = blobs
        self._identity = identity
        self._look = attributes
        self._attributes: Attributes | None = None
        self._part_size = part_size(blobs)
        self._partial: Partial | None = None
        self._users = 0
        self._lock = threading.Lock()
        self._written: set[int] = set()
        self._whole: set[int] = set()
        self._is_begun = False
        self._is_spoiled = False

    @contextmanager
    def open(self) -> Iterator[Partial]:
        """Hold the partial file open. Raises ``StoreError``, as where another transfer has it."""
        with self._lock:
            if self._partial is None:
                self._partial = self._opened()
            partial = self._partial
            self._users += 1
        try:
            yield partial
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    # What is written stays, and is found again.
                    partial.close()
                    self._partial = None

    def _opened(self) -> Partial:
        self._attributes = self._attributes or self._look()
        self._is_begun = True
        return self._landing.open(
            *(self._item.path, self._item.entry.size),
            part_size=self._part_size,
            identity=self._identity,
            attributes=self._attributes,
        )

    def missing(self, partial: Partial, blob: Blob) -> list[Part]:
        """Return the parts of ``blob`` from the first to the last that is not written."""
        size, end = self._part_size, blob.offset + blob.length
        left = {part.number for part in partial.missing} - self._written
        numbers = [
            number for number in range(blob.offset // size, -(-end // size)) if number in left
        ]
        if not numbers:
            return []
        offsets = (number * size for number in range(numbers[0], numbers[-1] + 1))
        return [Part(at // size, at, min(size, end - at)) for at in offsets]

    def write(
        self,
        partial: Partial,
        parts: list[Part],
        chunks: Iterable[bytes],
        moved: Callable[[int], None],
    ) -> None:
        """Write ``parts``, which follow each other, from ``chunks``; ``moved`` hears of each."""
        cut = _Cut(chunks)
        for part in parts:
            partial.write_part(part, cut.next(part.size))
            self._written.add(part.number)
            moved(part.size)
        cut.finish()

    def came_whole(self, blob: Blob) -> None:
        """Note that all of ``blob`` came in one go, and was checked then."""
        self._whole.add(blob.offset)

    def spoil(self) -> None:
        """Note that what is written is wrong: nothing of it is to be kept."""
        self._is_spoiled = True

    def commit(self, partial: Partial, look: Callable[[], ObjectHead]) -> bool:
        """Give the file its name, once all is written; False where it is taken and is to stay.

        What an earlier transfer has written is compared with the checksums that ``look`` returns.
        """

        def check(content: Iterator[bytes]) -> None:
            if unchecked := [blob for blob in self._blobs if blob.offset not in self._whole]:
                _compare(content, self._blobs, unchecked, look())

        return partial.commit(check=check)

    def leave(self, *, keep: bool) -> None:
        """Once nobody is at it any more, remove what is written of it, unless it is to be kept."""
        if self._is_begun and (self._is_spoiled or not keep):
            self._opened().discard()


class _Cut:
    """Chunks of any size, cut into runs of a given number of bytes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._over = memoryview(b"")

    def next(self, size: int) -> Iterator[memoryview]:
        """Yield the next ``size`` bytes, or fewer where there are no more."""
        while size:
            if not self._over:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._over = memoryview(chunk)
            piece, self._over = self._over[:size], self._over[size:]
            size -= len(piece)
            yield piece

    def finish(self) -> None:
        """Read to the end, where what the chunks come from checks them."""
        for _ in self._chunks:
            pass


def _compare(
    content: Iterator[bytes], blobs: list[Blob], unchecked: list[Blob], head: ObjectHead
) -> None:
    """Raise ``Mismatch`` where ``content`` differs from a checksum of ``head``."""
    kind = checksums.kind_of(head.checksum_type)
    cut = _Cut(content)
    for blob in blobs:
        running = checksums.running(kind)
        for piece in cut.next(blob.length):
            if blob in unchecked:
                running.update(piece)
        said = head.checksums.get(blob.offset)
        came = base64.b64encode(running.digest()).decode()
        if blob in unchecked and said and came != said:
            raise Mismatch(f"what an earlier transfer has left has the {kind} {came}, not {said}")
