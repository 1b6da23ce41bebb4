"""Work on many items from a few threads, in bounded memory.

Threads of our own rather than an executor: one future an item costs more than sending 4 KiB does,
and an executor takes all of its items at once.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAITING_RESULTS = 1_000
_MANY = 64
_SOON_S = 0.02
"""How long a result may wait for others: to wake a thread for each costs more than a small file."""
_PATIENCE_S = 1.0
"""What of the two seconds in which Ctrl-C ends a transfer its threads get to clean up."""


class ByteBudget:
    """A number of bytes that threads share: who takes some waits until they are free."""

    def __init__(self, size: int) -> None:
        """Share ``size`` bytes."""
        self._free = self._size = size
        self._changed = threading.Condition()

    def take(self, wanted: int) -> int:
        """Wait for ``wanted`` bytes, at most all there are; return how many to give back."""
        taken = min(wanted, self._size)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        return taken

    def give(self, taken: int) -> None:
        """Give back what ``take`` returned."""
        with self._changed:
            self._free += taken
            self._changed.notify_all()


def bursts(
    items: Iterable[Item], most: int, is_small: Callable[[Item], bool]
) -> Iterator[list[Item]]:
    """Yield ``items`` in lists: ``most`` small ones that follow each other, and others alone."""
    burst: list[Item] = []
    for item in items:
        if is_small(item):
            burst.append(item)
            if len(burst) < most:
                continue
        elif burst:
            yield burst
            burst = []
        yield burst or [item]
        burst = []
    if burst:
        yield burst


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Yield ``work(item)`` for each of ``items`` as they finish, from at most ``threads`` threads.

    Items are taken one at a time, each when a thread is free for it, by the threads themselves;
    for a few items there are few threads. What ``work``, or taking an item, raises is raised here
    and ends the whole: no further item is begun. The same where the caller closes the iterator:
    what is under way is left to finish, and waited for, but only for a second.
    """
    crew = _Crew(work, iter(items), threads)
    try:
        crew.grow()
        ended = 0
        while ended < len(crew.workers):
            for result in crew.results.take():
                if isinstance(result, BaseException):
                    raise result
                if result is None:
                    ended += 1
                else:
                    yield result[0]
    finally:
        crew.results.close()
        end = time.monotonic() + _PATIENCE_S
        for worker in crew.workers:
            if worker.ident is not None:  # Ctrl-C may come before it is started
                worker.join(max(end - time.monotonic(), 0.0))


class _Results(Generic[Result]):
    """What threads hand over to the one that takes it, who is not woken for each."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Result] | BaseException | None] = []
        self._changed = threading.Condition()
        self.closed = False

    def put(self, result: tuple[Result] | BaseException | None) -> None:
        """Hand ``result`` over; wait while nobody takes what is there."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or len(self._waiting) < _WAITING_RESULTS)
            self._waiting.append(result)
            if len(self._waiting) in (1, _MANY) or not isinstance(result, tuple):
                self._changed.notify_all()

    def take(self) -> list[tuple[Result] | BaseException | None]:
        """Wait for some results, and a moment for more; an end or an error comes at once."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._changed.wait_for(self._are_many, _SOON_S)
            taken, self._waiting = self._waiting, []
            self._changed.notify_all()
        return taken

    def close(self) -> None:
        """Let nobody wait any longer: nothing more is taken."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _are_many(self) -> bool:
        return len(self._waiting) >= _MANY or not isinstance(self._waiting[-1], tuple)


class _Crew(Generic[Item, Result]):
    """What the threads of one bulk share. A thread that ends leaves None among the results."""

    def __init__(self, work: Callable[[Item], Result], items: Iterator[Item], threads: int) -> None:
        self.results: _Results[Result] = _Results()
        self.workers: list[threading.Thread] = []
        self._work = work
        self._items = items
        self._threads = threads
        self._taking = threading.Lock()

    def grow(self) -> None:
        """Start another thread, unless there are enough. Raises ``RuntimeError`` if none can be."""
        if len(self.workers) >= self._threads or self.results.closed:
            return
        # Daemons: a process that is interrupted does not wait for a part that is on its way.
        worker = threading.Thread(target=self._serve, daemon=True, name="bulk")
        self.workers.append(worker)
        try:
            worker.start()
        except RuntimeError:
            if worker.ident is not None:  # Ctrl-C, in the midst of a lock
                raise
            self.workers.pop()  # the system allows no more
            self._threads = len(self.workers)
            if not self.workers:
                raise

    def _serve(self) -> None:
        try:
            while not self.results.closed:
                with self._taking:
                    item = next(self._items)
                    # Who has found something to do lets another look: to start many for little
                    # takes longer than the little.
                    self.grow()
                self.results.put((self._work(item),))
        except StopIteration:
            self.results.put(None)
        except BaseException as error:  # noqa: BLE001 - raised where the results are taken
            self.results.put(error)
