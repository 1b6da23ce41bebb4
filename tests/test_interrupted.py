"""What is under way when Ctrl-C comes is left to finish, in whatever moment it comes."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from ingest.cli.console import Reporter
from ingest.cli.running import _shown
from ingest.storage.bulk import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.operation import Operation


def test_what_is_begun_finishes_where_ctrl_c_comes_before_all_threads_have_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, waited_for = threading.Event(), threading.Event()
    finished: list[int] = []

    def work(item: int) -> None:
        started.set()
        assert waited_for.wait(timeout=30)
        finished.append(item)

    class Interrupted(threading.Thread):
        def start(self) -> None:
            if started.is_set():
                raise KeyboardInterrupt
            super().start()
            assert started.wait(timeout=30)

        def join(self, timeout: float | None = None) -> None:
            waited_for.set()
            super().join(timeout)

    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(in_threads(work, [1, 2, 3], threads=3))
    assert finished == [1]


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
