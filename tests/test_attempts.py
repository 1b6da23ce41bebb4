"""Requests that are sent again: what somebody who waits for them is told."""

from __future__ import annotations

import logging
import threading

import pytest

from ingest.storage import attempts
from ingest.storage.answers import Failed
from ingest.storage.attempts import Stop, retried


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
