"""What is under way when Ctrl-C comes is left to finish, in whatever moment it comes."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ingest.cli.console import Reporter
from ingest.cli.running import _is_interrupt, _shown
from ingest.storage.bulk import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.operation import Operation


def test_what_is_begun_finishes_where_ctrl_c_comes_as_threads_are_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, waited_for = threading.Event(), threading.Event()
    begun: list[int] = []
    finished: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        started.set()
        assert waited_for.wait(timeout=30)
        finished.append(item)

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            if threading.current_thread() is threading.main_thread():
                assert started.wait(timeout=30)
                raise KeyboardInterrupt

        def join(self, timeout: float | None = None) -> None:
            waited_for.set()
            super().join(timeout)

    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(in_threads(work, [1, 2, 3], threads=3))
    assert finished
    assert sorted(finished) == sorted(begun)


def test_there_are_no_more_threads_than_there_is_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(threading.Thread):
        def start(self) -> None:
            made.append(self)
            super().start()

    monkeypatch.setattr(threading, "Thread", Counted)
    assert sorted(in_threads(abs, [-1, 2], threads=64)) == [1, 2]
    assert len(made) <= 3, "one finds out that there is nothing more"
    made.clear()
    assert list(in_threads(abs, [], threads=64)) == []
    assert len(made) == 1


def test_where_the_system_allows_few_threads_those_do_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Few(threading.Thread):
        def start(self) -> None:
            if len(made) == 2:
                raise RuntimeError("can't start new thread")
            made.append(self)
            super().start()

    monkeypatch.setattr(threading, "Thread", Few)
    assert sorted(in_threads(abs, range(-500, 0), threads=64)) == list(range(1, 501))


def test_what_is_begun_is_ended_where_ctrl_c_comes_between_two_outcomes() -> None:
    ended = []

    def outcomes() -> Iterator[str]:
        try:
            yield "one"
        finally:
            ended.append("outcomes")

    def operations() -> Iterator[Operation]:
        under_way = outcomes()
        for _ in under_way:
            raise KeyboardInterrupt
        yield from ()

    cancelled = threading.Event()
    with closing(operations()) as done, pytest.raises(KeyboardInterrupt) as caught:
        _shown(Reporter(as_json=False, quiet=True), done, iter(()), cancelled)
    assert caught.value is not None  # it, and the frames that it came through, are held
    assert ended == ["outcomes"]
    assert cancelled.is_set()


def test_ctrl_c_in_the_midst_of_a_lock_is_ctrl_c() -> None:
    """Where it comes between two steps of ``Condition``, that says that its lock is not held."""
    with pytest.raises(RuntimeError) as caught:  # noqa: PT012 - as it comes about
        try:
            raise KeyboardInterrupt
        finally:
            threading.Lock().release()
    assert _is_interrupt(caught.value)
    assert not _is_interrupt(RuntimeError("a defect"))
