"""The hash of a file that comes in parts, computed while they come."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ingest.storage.attempts import Halt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from _typeshed import ReadableBuffer

    from ingest.files.partial import Part, Partial
    from ingest.storage.attempts import Stop

_SOON_S = 0.2


class FollowingHash:
    """Hashes a file from its beginning to its end, in a thread of its own, behind its parts.

    A part is hashed from the memory that it came in, of which there is a fixed amount: whoever
    fetches a part asks for some first, part by part in ascending order, and waits until there is.
    What an earlier run left is read from the file.
    """

    def __init__(
        self,
        partial: Partial,
        digest: Callable[[Iterable[ReadableBuffer]], str],
        held: int,
        stop: Stop,
    ) -> None:
        """Begin: ``digest`` is called with the content, ``held`` parts are in memory at a time."""
        self._partial = partial
        self._digest = digest
        self._stop = stop
        self._changed = threading.Condition()
        self._unmade = held
        self._free: list[bytearray] = []
        self._coming = {part.number for part in partial.missing}
        self._came: dict[int, bytearray] = {}
        self._result = ""
        self._failure: BaseException | None = None
        # A daemon: a process that is interrupted does not wait for it.
        self._thread = threading.Thread(target=self._run, daemon=True, name="hash")
        self._thread.start()

    def memory(self) -> bytearray:
        """Return memory for the largest part, once there is. Raises ``Halt``."""
        with self._changed:
            self._wait_for(lambda: self._free or self._unmade)
            if self._free:
                return self._free.pop()
            self._unmade -= 1
        return bytearray(self._partial.parts[0].size)

    def came(self, part: Part, memory: bytearray) -> None:
        """Take the content of a part, which is at the beginning of ``memory``."""
        with self._changed:
            self._came[part.number] = memory
            self._changed.notify_all()

    def result(self) -> str:
        """Wait for the end of the file; return its hash. Raises what reading it raised."""
        self._thread.join()
        if self._failure:
            raise self._failure
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._digest(self._content())
        except Halt as halt:
            self._failure = halt
        except BaseException as error:  # noqa: BLE001 - raised by result()
            self._failure = error
            self._stop.fail(error)

    def _content(self) -> Iterator[ReadableBuffer]:
        for part in self._partial.parts:
            if part.number not in self._coming:
                yield from self._partial.read_part(part)
                continue
            memory = self._taken(part.number)
            yield memoryview(memory)[: part.size]
            with self._changed:
                self._free.append(memory)
                self._changed.notify_all()

    def _taken(self, number: int) -> bytearray:
        with self._changed:
            self._wait_for(lambda: number in self._came)
            return self._came.pop(number)

    def _wait_for(self, condition: Callable[[], object]) -> None:
        while not self._changed.wait_for(condition, _SOON_S):
            self._stop.check()
