"""What a call tells while it works, and how it ends."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.bucket.telling import follow, outcome_of, steps, summary
from ingest.errors import BucketNotFound, StoreError
from ingest.operation import Operation
from ingest.storage.base import Outcome, Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator


def interrupted() -> Iterator[Operation]:
    yield Operation("upload", "s3://b/a")
    raise KeyboardInterrupt


def test_an_interrupt_stops_what_is_under_way() -> None:
    how = Transfer()
    with pytest.raises(KeyboardInterrupt):
        follow(interrupted(), how)
    assert how.cancelled.is_set()


def test_an_interrupt_stops_a_single_file() -> None:
    def outcomes() -> Iterator[Outcome]:
        raise KeyboardInterrupt
        yield  # makes it a generator

    how = Transfer()
    with pytest.raises(KeyboardInterrupt):
        outcome_of(outcomes(), how)
    assert how.cancelled.is_set()


def test_a_bucket_that_is_missing_is_not_asked_for_every_file() -> None:
    def operations() -> Iterator[Operation]:
        missing = BucketNotFound("no such bucket")
        yield Operation("upload", "s3://b/a", status="failed", error=missing)
        pytest.fail("it went on")

    how = Transfer()
    with pytest.raises(BucketNotFound):
        follow(operations(), how)
    assert how.cancelled.is_set()


def test_an_outcome_that_failed_is_raised() -> None:
    outcomes = [Outcome("a", 1), Outcome("b", 0, StoreError("no"))]
    with pytest.raises(StoreError, match="no"):
        outcome_of(outcomes, Transfer())


def test_a_summary_counts_what_was_done_and_what_was_not() -> None:
    operations = [
        Operation("upload", "a", size=1_500),
        Operation("upload", "b", size=500),
        Operation("scan", "c", size=9, status="skipped"),
    ]
    assert summary(operations) == "2 upload, 1 skipped; 2,000 bytes"
    assert summary([]) == "nothing to do"


@given(st.lists(st.integers(-5, 100)))
def test_progress_is_the_sum_of_the_steps(sizes: list[int]) -> None:
    told: list[float] = []
    moved = steps(lambda read, *_: told.append(read), 1_000, "a")
    for size in sizes:
        moved(size)
    assert told == list(accumulate(sizes))
