"""Deadlines, the limit of requests a second, and waits between retries, by a clock of our own."""

from __future__ import annotations

from contextlib import contextmanager
from email.utils import formatdate
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import pacing
from ingest.pacing import Backoff, Deadline, RateLimit, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterator


class Clock:
    """A monotonic clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@contextmanager
def _own_clock() -> Iterator[Clock]:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "time", SimpleNamespace(monotonic=clock.monotonic))
        yield clock


_GAPS = st.lists(st.floats(0, 3), max_size=60)


@given(rate=st.integers(1, 20), gaps=_GAPS)
def test_no_second_ever_sees_more_starts_than_the_rate(rate: int, gaps: list[float]) -> None:
    with _own_clock() as clock:
        limit = RateLimit(rate)
        starts = []
        for gap in gaps:
            clock.now += gap
            starts.append(clock.now + limit.delay_s())
    assert starts == sorted(starts)
    assert all(later - first > 1.0 for first, later in zip(starts, starts[rate:], strict=False))


@given(rate=st.floats(0.1, 20), gaps=_GAPS)
def test_a_rate_that_is_not_whole_is_kept_over_its_whole_part(
    rate: float, gaps: list[float]
) -> None:
    with _own_clock() as clock:
        limit = RateLimit(rate)
        starts = []
        for gap in gaps:
            clock.now += gap
            starts.append(clock.now + limit.delay_s())
    burst = max(int(rate), 1)
    later = zip(starts, starts[burst:], strict=False)
    assert all(second - first > burst / rate for first, second in later)


@given(rate=st.integers(1, 20), gaps=_GAPS)
def test_nobody_waits_longer_than_the_rate_demands(rate: int, gaps: list[float]) -> None:
    with _own_clock() as clock:
        limit = RateLimit(rate)
        starts: list[float] = []
        for gap in gaps:
            clock.now += gap
            earliest = starts[-rate] + 1.1 if len(starts) >= rate else 0.0
            starts.append(clock.now + limit.delay_s())
            assert starts[-1] <= max(clock.now, earliest) + 1e-6


def test_a_burst_up_to_the_rate_starts_at_once() -> None:
    with _own_clock():
        limit = RateLimit(5)
        delays = [limit.delay_s() for _ in range(6)]
    assert delays[:5] == [0.0] * 5
    assert delays[5] > 1.0


def test_a_pause_holds_every_start_until_it_is_over() -> None:
    with _own_clock() as clock:
        limit = RateLimit(5)
        limit.pause(7)
        limit.pause(3)  # a shorter one does not end the longer
        assert limit.delay_s() == pytest.approx(7)
        clock.now += 8
        assert limit.delay_s() == 0.0


@given(
    rate=st.integers(1, 5),
    steps=st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=40),
)
def test_after_a_pause_the_rate_still_holds(rate: int, steps: list[tuple[bool, float]]) -> None:
    with _own_clock() as clock:
        limit = RateLimit(rate)
        starts = []
        quiet_until = 0.0
        for pause, seconds in steps:
            if pause:
                limit.pause(seconds)
                quiet_until = max(quiet_until, clock.now + seconds)
            else:
                clock.now += seconds
                starts.append(clock.now + limit.delay_s())
                assert starts[-1] >= quiet_until - 1e-6
    assert all(later - first > 1.0 for first, later in zip(starts, starts[rate:], strict=False))


@given(base_s=st.floats(0, 10), cap_s=st.floats(0, 60), attempt=st.integers(0, 60))
def test_a_wait_is_in_the_upper_half_of_the_doubled_base_and_below_the_cap(
    base_s: float, cap_s: float, attempt: int
) -> None:
    whole = min(cap_s, base_s * 2**attempt)
    wait_s = Backoff(base_s=base_s, cap_s=cap_s).wait_s(attempt)
    assert whole / 2 <= wait_s <= whole


def test_waits_differ_between_clients() -> None:
    assert len({Backoff().wait_s(0) for _ in range(20)}) > 1


def test_the_usual_waits_double_up_to_their_cap() -> None:
    backoff = Backoff()
    assert [round(max(backoff.wait_s(n) for _ in range(200))) for n in (2, 3, 4, 10)] == [
        *(2, 4, 8),
        20,
    ]


@given(seconds=st.floats(-100, 1000), passed=st.floats(0, 2000))
def test_a_deadline_counts_down_past_zero(seconds: float, passed: float) -> None:
    with _own_clock() as clock:
        deadline = Deadline(seconds)
        clock.now += passed
        assert deadline.remaining_s() == pytest.approx(seconds - passed, abs=1e-6)


# What a server asks for


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0"}, 0),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 06:01:30 GMT",
                "date": "Fri, 20 Nov 2026 06:00:00 GMT",
            },
            90,
        ),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 05:00:00 GMT",
                "date": "Fri, 20 Nov 2026 06:00:00 GMT",
            },
            0,
        ),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_moment_is_of_this_clock_where_the_server_tells_none() -> None:
    assert retry_after_s({"retry-after": "Fri, 20 Nov 2020 05:16:34 GMT"}) == 0.0
    later = retry_after_s({"retry-after": formatdate(4e9, usegmt=True)})
    assert later is not None
    assert later > 1e6
