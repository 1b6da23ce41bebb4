"""Bulk PUT jobs where the appliance is busy, or the way to it fails."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, cast

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Before, DropAnswer, DropRequest, Rule, Stall, StallAnswer, Truncate
from ingest.storage.base import Transfer
from ingest.storage.spectra import upload
from ingest.storage.spectra.documents import Blob, Job
from ingest.storage.spectra.jobs import Offers
from ingest.storage.spectra.patience import Patience, Stop
from pearls import AT_ONCE, errors, item, not_waiting, put, store_on, text
from stores import write

if TYPE_CHECKING:
    from pathlib import Path


MIB = 1024**2
PATIENT = Transfer(threads=2, keep_partial=False)


def busy(status: int = 307, retry_after: str = "0") -> Answer:
    return Answer(status, "TemporaryRedirect", "wait", (("Retry-After", retry_after),))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the store waits for the appliance, each time; it goes on at once."""
    return not_waiting(monkeypatch)


# The appliance is busy


@pytest.mark.parametrize("status", [307, 429, 503])
@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
def test_a_blob_that_finds_no_room_is_sent_again_from_its_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    waits: list[float],
    status: int,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    """S-D04: the vendor's SDK sends the rest of a stream of which there is none."""
    if large:
        monkeypatch.setattr(upload, "LARGE", 5)
    path = write(tmp_path, {"a": b"0123456789" * 3}) / "a"
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(busy(status, "7"), "PUT", "/a", "offset=10", times=3))
        assert not errors(put(store, [item(path)]))
        assert pearl.contents(store.bucket) == {"a": b"0123456789" * 3}
        sizes = [each.body_size for each in pearl.seen("PUT", "/a", "offset=10")]
    assert sizes == [10] * 4
    assert waits == [7.0] * 3


def test_a_redirect_is_not_followed_to_wherever_it_leads(waits: list[float]) -> None:
    elsewhere = Answer(307, "X", "x", (("Location", "http://127.0.0.1:1/b"), ("Retry-After", "1")))
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(elsewhere, "PUT", "/a"))
        assert not errors(put(store, [text("a")]))
    assert waits == [1.0]


def test_chunks_are_asked_for_again_when_the_appliance_says(waits: list[float]) -> None:
    """S-D10: Retry-After is heeded."""
    with Blackpearl(
        blob_size=10, chunk_blobs=1, cache_size=10, tape_polls=2, retry_after=42
    ) as pearl:
        store = store_on(pearl)
        assert not errors(put(store, [text("a", b"x" * 50)], Transfer(threads=1)))
        polls = len(pearl.seen("GET", "/_rest_/job_chunk"))
    assert set(waits) == {42.0}
    assert len(waits) == polls - 5


def test_a_wait_has_bounds() -> None:
    """S-D10, and S-D07: never again at once, never in a year."""
    patience = Patience()
    assert patience.wait_s(0.0, 0) == 1.0
    assert patience.wait_s(300.0, 0) == 300.0
    assert patience.wait_s(1e9, 0) == 600.0
    assert 1.0 <= patience.wait_s(None, 0) <= patience.wait_s(None, 60) <= 20.0


@pytest.mark.usefixtures("waits")
@pytest.mark.parametrize("limit", [{"waits": 5}, {"total_s": 100.0}], ids=["often", "long"])
def test_a_cache_that_stays_full_is_given_up(limit: dict[str, Any]) -> None:
    """S-D10: the vendor's SDK asks for ever."""
    full = {"blob_size": 10, "chunk_blobs": 1, "cache_size": 10, "tape_polls": 10**9}
    with Blackpearl(**full, retry_after=30) as pearl:
        store = store_on(pearl, patience=Patience(**limit))
        failed = errors(put(store, [text("a", b"x" * 30)], PATIENT))
        assert len(pearl.seen("GET", "/_rest_/job_chunk")) < 20
        assert "the cache is full" in failed["a"]
        assert "given up" in failed["a"]
        assert pearl.contents(store.bucket) == {}


@pytest.mark.parametrize("path", ["/a", "/_rest_/job_chunk", "/_rest_/bucket/"])
def test_an_appliance_that_stays_busy_is_given_up(waits: list[float], path: str) -> None:
    with Blackpearl() as pearl:
        patience = Patience(waits=5)
        store = store_on(pearl, patience=patience)
        pearl.rules.append(Rule(busy(503, "9"), path=path, times=None))
        failed = errors(put(store, [text("a")], PATIENT))
        assert "given up after 5 waits" in failed["a"]
    assert waits == [9.0] * 5


def test_a_job_waits_for_its_turn() -> None:
    with Blackpearl(max_jobs=1, blob_size=10) as pearl:
        store = store_on(pearl)
        pearl.put(store.bucket, "other", b"x" * 20)
        first = store.stream("other")
        pearl.rules.append(
            Rule(Before(lambda: b"".join(first)), "PUT", query="start_bulk_put", skip=3)
        )
        next(first)
        assert not errors(put(store, [text("a")]))
        assert len(pearl.seen("PUT", query="start_bulk_put")) >= 4


def test_a_blob_that_has_arrived_is_not_waited_for_any_longer() -> None:
    """It may be what the rest has waited for, whatever the appliance said before."""
    full = {"blob_size": 10, "chunk_blobs": 1, "cache_size": 10, "tape_polls": 0}
    stall = Stall(threading.Event())
    with Blackpearl(**full, retry_after=300) as pearl:
        store = store_on(pearl, patience=Patience())
        pearl.rules.append(Rule(stall, "PUT", query="offset"))
        work = threading.Thread(
            target=lambda: put(store, [text("a", b"x" * 20)], Transfer(threads=4)), daemon=True
        )
        work.start()
        pearl.wait_until(lambda: len(pearl.seen("GET", "/_rest_/job_chunk")) >= 2)
        stall.release.set()
        work.join(60)
        assert pearl.contents(store.bucket) == {"a": b"x" * 20}


def test_a_blob_that_arrives_while_it_is_asked_for_more_is_not_waited_for(
    waits: list[float],
) -> None:
    """The answer may be from before: it says nothing of what has been free since."""
    first, second = Blob("a", 0, 10), Blob("a", 10, 10)
    answers: list[tuple[Blob, ...]] = [(first,), (), (second,)]

    class Appliance:
        patience = Patience()

        def ready(self, *_: object) -> tuple[tuple[Blob, ...], float | None]:
            offered = answers.pop(0)
            if not offered:
                offers.settled()
            return offered, 300.0

    job = Job("1", "bucket", "PUT", "IN_PROGRESS", "", "", 0.0, 20, 0, 0)
    offers = Offers(cast("Any", Appliance()), job, [first, second], Stop())
    assert list(offers) == [first, second]
    assert waits == []


def test_who_cancels_does_not_wait_for_the_appliance() -> None:
    full = {"blob_size": 10, "chunk_blobs": 1, "cache_size": 10, "tape_polls": 10**9}
    how = Transfer(threads=4)
    failed: dict[str, str] = {}
    with Blackpearl(**full, retry_after=300) as pearl:
        store = store_on(pearl, patience=Patience())
        work = threading.Thread(
            target=lambda: failed.update(errors(put(store, [text("a", b"x" * 30)], how))),
            daemon=True,
        )
        work.start()
        pearl.wait_until(lambda: len(pearl.seen("GET", "/_rest_/job_chunk")) >= 2)
        how.cancelled.set()
        work.join(60)
        assert "stopped" in failed["a"]
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]
        assert pearl.contents(store.bucket) == {}


# The way fails

FAILURES = {
    "500": Answer(500, "InternalError", "no"),
    "502 of a proxy": Answer(502, code="", message="<html><hr><p>Bad Gateway</html>"),
    "504 with nothing": Answer(504, code="", message=""),
    "drop at once": DropRequest(),
    "drop half way": DropRequest(5),
    "drop the answer": DropAnswer(),
    "drop half of the answer": DropAnswer(20),
}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_blob_that_fails_on_the_way_is_sent_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: Any,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    """S-D06, and S-D17: what is no XML is no reason to fall over."""
    if large:
        monkeypatch.setattr(upload, "LARGE", 5)
    content = b"0123456789" * 3
    path = write(tmp_path, {"a": content}) / "a"
    moved: list[int] = []
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl)
        # The last blob too, with which the job ends: its answer is looked for in vain then.
        pearl.rules += [Rule(failure, "PUT", "/a", f"offset={offset}") for offset in (10, 20)]
        outcomes = put(store, [item(path)], Transfer(threads=1, moved=moved.append))
        assert not errors(outcomes)
        assert pearl.contents(store.bucket) == {"a": content}
        assert len(pearl.seen("PUT", query="start_bulk_put")) == 1
    assert sum(moved) == len(content)


def test_what_is_sent_is_told_as_it_goes_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "LARGE", 1)
    path = write(tmp_path, {"a": os.urandom(3 * MIB)}) / "a"
    moved: list[int] = []
    with Blackpearl() as pearl:
        pearl.rules.append(Rule(DropRequest(2 * MIB), "PUT", "/a", "offset"))
        how = Transfer(threads=1, moved=moved.append)
        assert not errors(put(store_on(pearl), [item(path)], how))
    assert sum(moved) == 3 * MIB
    assert all(0 <= size <= MIB for size in moved)


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("path", ["/_rest_/job_chunk", "/_rest_/bucket/", "/_rest_/data_policy/"])
def test_a_question_that_fails_on_the_way_is_asked_again(path: str, failure: Any) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(failure, path=path, times=2))
        assert not errors(put(store, [text("a")]))
        assert pearl.contents(store.bucket) == {"a": b"content"}
        assert len(pearl.jobs) == 1


@pytest.mark.parametrize("path", ["/_rest_/job_chunk", "/_rest_/bucket/"])
@pytest.mark.parametrize("after", [0, 10, 200])
def test_an_answer_that_is_cut_short_is_asked_for_again(path: str, after: int) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(Truncate(after, relabel=True), path=path))
        assert not errors(put(store, [text("a")]))
        assert len(pearl.jobs) == 1


def test_of_a_job_that_has_begun_unheard_there_is_no_second(waits: list[float]) -> None:
    """Its answer is lost; others are under way, one of them of the same name."""
    with Blackpearl() as pearl:
        store = store_on(pearl)
        others = [Rule(busy(503), "PUT", "/other", times=None)]
        pearl.rules += others
        other = threading.Thread(target=lambda: put(store, [text("other")], PATIENT))
        other.start()
        pearl.wait_until(lambda: bool(pearl.seen("PUT", "/other")))
        pearl.rules.append(Rule(DropAnswer(), "PUT", query="start_bulk_put"))
        assert not errors(put(store_on(pearl, store.bucket), [text("a"), text("b")]))
        pearl.rules.remove(others[0])
        other.join()
        assert pearl.contents(store.bucket).keys() == {"a", "b", "other"}
        assert len(pearl.jobs) == 2
    assert waits


def test_a_blob_that_always_fails_is_given_up_and_the_rest_is_sent(waits: list[float]) -> None:
    """S-D06, S-D07: tries are few, with a wait between, and there is no poll for each."""
    with Blackpearl(blob_size=10, chunk_blobs=2, repeated=True) as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(Answer(500), "PUT", "/bad", "offset=10", times=None))
        outcomes = put(store, [text("bad", b"x" * 30), text("good", b"y" * 30)], PATIENT)
        failed = errors(outcomes)
        assert failed.keys() == {"bad"}
        assert f"ds3://{store.bucket}/bad at {pearl.endpoint}" in failed["bad"]
        assert pearl.contents(store.bucket) == {"good": b"y" * 30}
        assert len(pearl.seen("PUT", "/bad", "offset=10")) == AT_ONCE.attempts
        assert len(pearl.seen("GET", "/_rest_/job_chunk")) < 10
        assert len(waits) >= AT_ONCE.attempts - 1


def test_a_blob_that_arrives_as_another_is_sent_again(waits: list[float]) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(Answer(400, "BadDigest", "other bytes came"), "PUT", "/a"))
        pearl.rules.append(Rule(Answer(400, "BadDigest", "again"), "PUT", "/bad", times=None))
        failed = errors(put(store, [text("a"), text("bad")], PATIENT))
        assert failed.keys() == {"bad"}
        assert "BadDigest" in failed["bad"]
        assert len(pearl.seen("PUT", "/bad", "offset")) == 3
    assert len(waits) == 3


def test_what_the_appliance_refuses_is_not_sent_again() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(Answer(403, "AccessDenied", "not yours"), "PUT", "/a", times=None))
        assert "AccessDenied" in errors(put(store, [text("a")]))["a"]
        assert len(pearl.seen("PUT", "/a", "offset")) == 1


def test_an_appliance_that_says_nothing_is_not_waited_for_for_ever() -> None:
    """S-D20, S-D04: there are timeouts."""
    release = threading.Event()
    with Blackpearl() as pearl:
        patience = Patience(attempts=2, backoff=AT_ONCE.backoff, answer_s=0.2)
        store = store_on(pearl, patience=patience)
        pearl.rules.append(Rule(StallAnswer(release), "PUT", "/a", times=None))
        failed = errors(put(store, [text("a")], PATIENT))
        assert "timed out" in failed["a"].lower()
        release.set()
