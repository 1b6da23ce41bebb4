"""Requests that are sent again: what somebody who waits for them is told."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace

import pytest

from ingest.storage import attempts
from ingest.storage.answers import Failed
from ingest.storage.attempts import Stop, after, retried


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stop, "pause", lambda *_: None)
    monkeypatch.setattr(attempts, "_told_at", [float("-inf")])


def fails(times: int) -> int:
    """Try what fails so many times; return how often it was tried."""
    tried = []

    def call() -> None:
        tried.append(1)
        if len(tried) <= times:
            raise Failed("SlowDown", "", 503, passes=True)

    retried(call, Stop(threading.Event()), pauses_s=(0.1, 2.0, 4.0, 8.0))
    return len(tried)


@pytest.mark.parametrize(("times", "told"), [(0, 0), (2, 0), (3, 1), (4, 1)])
def test_a_long_wait_is_told_once_in_a_while(
    caplog: pytest.LogCaptureFixture, times: int, told: int
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fails(times) == times + 1
    assert [each.getMessage() for each in caplog.records] == [
        "the store cannot answer now (SlowDown): it is asked again"
    ] * told


def test_many_threads_that_wait_tell_it_together(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            fails(4)
        assert len(caplog.records) == 1
        monkeypatch.setattr(attempts, "_SELDOM_S", 0.0)
        fails(4)
    assert len(caplog.records) == 3


def test_those_that_failed_together_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst that is refused is not waited for once an object: the store asked for two seconds."""
    waits: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: 100.0 + sum(waits))

    def wait(_: Stop, seconds: float) -> None:
        waits.append(max(seconds, 0.0))

    monkeypatch.setattr("ingest.storage.answers.time", clock)
    monkeypatch.setattr("ingest.storage.attempts.time", clock)
    monkeypatch.setattr(Stop, "pause", wait)
    stop = Stop(threading.Event())
    burst = [Failed("SlowDown", "", 503, passes=True, wait_s=2.0) for _ in range(5)]
    for failed in burst:
        assert retried(after(failed, lambda: "came"), stop, pauses_s=(0.1,)) == "came"
    assert waits == [2.0, 0.0, 0.0, 0.0, 0.0]
    assert retried(after(Failed("", "", passes=True, wait_s=3.0), str), stop, pauses_s=(0.1,)) == ""
    assert waits[5:] == [3.0], "one that fails later waits from then on"
