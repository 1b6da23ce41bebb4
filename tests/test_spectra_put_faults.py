"""Bulk PUT jobs where something fails: the way, the appliance, the job, or what is to be sent."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Before, DropAnswer, DropRequest, Rule, Stall, StallAnswer, Truncate
from ingest.errors import StoreError
from ingest.storage.base import PutItem, Transfer
from ingest.storage.spectra import upload
from ingest.storage.spectra.jobs import JobOptions, Wanted
from ingest.storage.spectra.patience import Patience, Stop
from ingest.storage.spectra.place import Place
from pearls import AT_ONCE, errors, item, not_waiting, put, store_on, text
from stores import OLD, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from blackpearl_jobs import Job

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


# What is to be sent changes


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 3)


def rewrite(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, (OLD, OLD))
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


def make_pipe(path: Path) -> None:
    """S-D14."""
    path.unlink()
    os.mkfifo(path)


CHANGES = (grow, shrink, rewrite, replace, remove, make_pipe)


@pytest.mark.parametrize("kind", ["MD5", "NONE"])
@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_is_another_than_was_chosen_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    large: bool,  # noqa: FBT001 - a parameter
    kind: str,
) -> None:
    """S-D05: the vendor's SDK hangs, or sends another length than the job has."""
    if large:
        monkeypatch.setattr(upload, "LARGE", 2)
    write(tmp_path, {"a": b"content", "b": b"stays"})
    items = [item(tmp_path / "a"), item(tmp_path / "b")]
    change(tmp_path / "a")
    with Blackpearl() as pearl:
        store = store_on(pearl, pearl.new_bucket(kind))
        failed = errors(put(store, items))
        assert failed.keys() == {"a"}
        assert str(tmp_path / "a") in failed["a"]
        assert pearl.contents(store.bucket) == {"b": b"stays"}
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_a_file_that_is_not_empty_any_more_does_not_arrive_as_if_it_was(tmp_path: Path) -> None:
    empty = item(write(tmp_path, {"a": b""}) / "a")
    (tmp_path / "a").write_bytes(b"no more")
    with Blackpearl() as pearl:
        store = store_on(pearl)
        assert "changed while it was read" in errors(put(store, [empty]))["a"]
        assert pearl.contents(store.bucket) == {}


@pytest.mark.parametrize("kind", ["MD5", "NONE"])
@pytest.mark.parametrize("change", CHANGES[:3])
def test_a_file_that_changes_while_it_is_sent_never_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], kind: str
) -> None:
    """S-D05: not even where the appliance cannot tell by a checksum."""
    monkeypatch.setattr(upload, "LARGE", 2)
    path = write(tmp_path, {"a": os.urandom(2 * MIB + 100)}) / "a"
    paced: list[int] = []

    def pace(size: int) -> None:
        paced.append(size)
        if len(paced) == 2:
            change(path)

    with Blackpearl() as pearl:
        store = store_on(pearl, pearl.new_bucket(kind))
        failed = errors(put(store, [item(path)], Transfer(threads=1, pace=pace)))
        assert "changed while it was read" in failed["a"]
        assert pearl.contents(store.bucket) == {}
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_a_file_that_is_not_there_is_told_before_a_job_begins(tmp_path: Path) -> None:
    """S-D13, S-D14: a broken link, for one."""
    (tmp_path / "link").symlink_to(tmp_path / "none")
    with Blackpearl() as pearl:
        store = store_on(pearl)
        gone = PutItem("gone", tmp_path / "link", "text/plain")
        failed = errors(put(store, [text("a"), gone]))
        assert failed.keys() == {"gone"}
        assert "No such file" in failed["gone"]
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == [1]


# What becomes of the job


def failing(pearl: Blackpearl, how: Transfer, answer: Answer | None = None) -> Job:
    """Put ``good`` and ``bad``, whose second blob cannot be sent; return the job."""
    pearl.rules.append(Rule(answer or Answer(500), "PUT", "/bad", "offset=10", times=None))
    store = store_on(pearl)
    outcomes = put(store, [text("good", b"y" * 30), text("bad", b"x" * 30)], how)
    assert errors(outcomes).keys() == {"bad"}
    assert pearl.contents(store.bucket) == {"good": b"y" * 30}
    return pearl.jobs[-1]


def test_a_job_that_cannot_be_done_is_ended_and_what_arrived_whole_stays() -> None:
    """S-D08: a reservation would stay for 24 hours. Forced, the end would delete ``good``."""
    with Blackpearl(blob_size=10) as pearl:
        job = failing(pearl, Transfer(threads=1, keep_partial=False))
        assert job.status == "COMPLETED"
        (ended,) = pearl.seen("DELETE", f"/_rest_/job/{job.id}")
        assert "force" not in ended.query
        assert pearl.contents(job.bucket.name) == {"good": b"y" * 30}


def test_a_job_stays_to_be_resumed_where_what_is_there_is_to_be_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Blackpearl(blob_size=10) as pearl:
        job = failing(pearl, Transfer(threads=1, keep_partial=True))
        assert job.status == "IN_PROGRESS"
        assert not pearl.seen("DELETE")
        assert f"the job {job.id} is left to be resumed" in caplog.text


def test_a_job_of_which_the_rest_would_be_refused_again_is_ended() -> None:
    with Blackpearl(blob_size=10) as pearl:
        assert (
            failing(pearl, Transfer(threads=1), Answer(403, "AccessDenied")).status == "COMPLETED"
        )


def test_a_job_that_cannot_be_ended_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with Blackpearl(blob_size=10) as pearl:
        pearl.rules.append(Rule(Answer(403, "AccessDenied"), "DELETE", times=None))
        job = failing(pearl, Transfer(threads=1, keep_partial=False))
        assert f"the job {job.id} stays, for 24 hours at most" in caplog.text


@pytest.mark.parametrize("keep", [False, True])
def test_a_transfer_that_is_broken_off_ends_its_job_unless_it_is_to_be_kept(keep: bool) -> None:  # noqa: FBT001 - a parameter
    how = Transfer(threads=1, keep_cancelled=keep)
    with Blackpearl() as pearl:
        store = store_on(pearl)
        outcomes: Any = store.put_many(map(text, "abcd"), how)
        how_far = Rule(Before(how.cancelled.set), "PUT", query="offset", skip=1)
        pearl.rules.append(how_far)
        with closing(outcomes):
            arrived = [outcome.key for outcome in outcomes if not outcome.error]
        (job,) = pearl.jobs
        assert job.status == ("IN_PROGRESS" if keep else "COMPLETED")
        assert arrived == ["a", "b"]
        assert pearl.contents(store.bucket).keys() == {"a", "b"}


def test_whoever_takes_no_more_outcomes_ends_the_job() -> None:
    with Blackpearl() as pearl:
        outcomes: Any = store_on(pearl).put_many(
            map(text, "abcd"), Transfer(threads=1, keep_partial=False)
        )
        with closing(outcomes):
            next(outcomes)
        pearl.wait_until(lambda: pearl.jobs[0].status == "COMPLETED")


@pytest.mark.parametrize("gone", [404, 410])
def test_a_job_that_is_lost_fails_what_is_left_at_once(gone: int) -> None:
    """S-D09: the rest of a chunk is not sent into nowhere."""
    with Blackpearl(lose_job_after=5, gone=gone) as pearl:
        store = store_on(pearl)
        keys = [f"{number:02}" for number in range(50)]
        outcomes = put(store, map(text, keys), Transfer(threads=2))
        failed = errors(outcomes)
        assert len(outcomes) == 50
        assert {keys[-1]} <= failed.keys() <= set(keys)
        assert "is not known to the appliance any more" in failed[keys[-1]]
        assert len(pearl.seen("PUT", query="offset")) < 12
        assert not pearl.seen("DELETE")


@pytest.mark.parametrize("gone", [404, 410])
def test_a_job_that_somebody_cancels_is_told_as_such(gone: int) -> None:
    with Blackpearl(blob_size=10, chunk_blobs=1, gone=gone) as pearl:
        store = store_on(pearl)
        pearl.rules.append(Rule(Before(pearl.cancel), "PUT", "/a", "offset=20"))
        failed = errors(put(store, [text("a", b"x" * 50)], Transfer(threads=1)))
        assert "is CANCELED" in failed["a"]
        assert pearl.contents(store.bucket) == {}


@pytest.mark.parametrize("gone", [404, 410])
def test_a_job_that_somebody_else_finishes_is_done(gone: int) -> None:
    """It is told apart from one that is gone."""
    with Blackpearl(blob_size=10, chunk_blobs=1, gone=gone) as pearl:
        store, content = store_on(pearl), bytes(range(50))

        def finish() -> None:
            other = store_on(pearl, store.bucket)
            job = other.jobs.find(pearl.jobs[0].id)
            assert job
            assert not errors({o.key: o for o in other.resume(job, [text("a", content)])})

        pearl.rules.append(Rule(Before(finish), "GET", "/_rest_/job_chunk"))
        outcomes = put(store, [text("a", content)], Transfer(threads=1))
        assert not errors(outcomes)
        assert pearl.contents(store.bucket) == {"a": content}
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_a_job_that_somebody_completes_without_the_rest_is_not_done() -> None:
    """It says COMPLETED as well, and an older object of the same size is there."""
    with Blackpearl(blob_size=10, chunk_blobs=1) as pearl:
        store = store_on(pearl)
        put(store, [text("a", b"o" * 50)])
        other = store_on(pearl, store.bucket)
        pearl.rules.append(
            Rule(Before(lambda: other.jobs.end(pearl.jobs[-1].id)), "PUT", "/a", "offset=20")
        )
        failed = errors(put(store, [text("a", b"n" * 50)], Transfer(threads=1)))
        assert "is COMPLETED" in failed["a"]
        assert pearl.contents(store.bucket) == {"a": b"o" * 50}


# Going on


def interrupted(pearl: Blackpearl, items: list[PutItem], options: JobOptions) -> Iterator[str]:
    """Begin to put ``items``, end after the first blob, and leave the job, as a kill would."""
    store = store_on(pearl, options=options)
    how = Transfer(threads=1, keep_cancelled=True)
    rule = Rule(Before(how.cancelled.set), "PUT", query="offset", skip=1)
    pearl.rules.append(rule)
    put(store, items, how)
    pearl.rules.remove(rule)
    assert pearl.jobs[-1].status == "IN_PROGRESS"
    yield store.bucket


CONTENTS = {"a": bytes(range(35)), "b": b"content", "c/d": b""}


@pytest.fixture
def tree(tmp_path: Path) -> list[PutItem]:
    write(tmp_path, CONTENTS)
    return [item(tmp_path / key, key) for key in CONTENTS]


def test_a_job_is_resumed_by_its_id_and_only_what_is_missing_is_sent(tree: list[PutItem]) -> None:
    """S-D08, S-D18: what is in the cache is not sent again."""
    with Blackpearl(blob_size=10) as pearl:
        (bucket,) = interrupted(pearl, tree, JobOptions())
        sent = len(pearl.seen("PUT", query="offset"))
        store = store_on(pearl, bucket)
        job = store.jobs.resume(pearl.jobs[0].id)
        moved: list[int] = []
        outcomes = list(store.resume(job, tree, Transfer(threads=2, moved=moved.append)))
        assert not [each.error for each in outcomes if each.error]
        assert pearl.contents(bucket) == CONTENTS
        assert len(pearl.seen("PUT", query="offset")) == 6
        assert sent == 2
        assert len(pearl.jobs) == 1
        assert sum(moved) == sum(map(len, CONTENTS.values()))


def test_a_file_of_which_a_part_is_there_and_that_was_written_to_since_is_not_mixed(
    tree: list[PutItem], tmp_path: Path
) -> None:
    with Blackpearl(blob_size=10) as pearl:
        (bucket,) = interrupted(pearl, tree, JobOptions())
        path = tmp_path / "a"
        path.write_bytes(bytes(35))
        os.utime(path, (time.time() + 60, time.time() + 60))
        store = store_on(pearl, bucket)
        job = store.jobs.resume(pearl.jobs[0].id)
        items = [item(tmp_path / key, key) for key in CONTENTS]
        failed = [each.key for each in store.resume(job, items) if each.error]
        assert failed == ["a"]
        assert pearl.contents(bucket) == {"b": b"content", "c/d": b""}


@pytest.mark.parametrize("content", [b"longer", b"less"], ids=["longer", "shorter"])
def test_a_file_that_has_another_size_than_the_job_has_is_not_sent(
    tmp_path: Path, content: bytes
) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        place = Place(store.wire, store.bucket)
        job = store.jobs.begin(place, "PUT", [Wanted("a", 5)], JobOptions(), Stop())
        path = write(tmp_path, {"a": content}) / "a"
        (outcome,) = store.resume(store.jobs.resume(job.id), [item(path)])
        assert "the job has 5 bytes of it" in str(outcome.error)
        assert pearl.contents(store.bucket) == {}


def test_the_same_transfer_goes_on_with_the_job_it_has_left(tree: list[PutItem]) -> None:
    with Blackpearl(blob_size=10) as pearl:
        options = JobOptions("src -> ds3://b/")
        (bucket,) = interrupted(pearl, tree, options)
        more = [*tree, text("new")]
        assert not errors(put(store_on(pearl, bucket, options=options), more))
        assert pearl.contents(bucket) == {**CONTENTS, "new": b"content"}
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == [6, 1]
        assert len(pearl.seen("PUT", query="offset")) == 7


def test_the_same_transfer_of_other_content_begins_anew(
    tree: list[PutItem], tmp_path: Path
) -> None:
    with Blackpearl(blob_size=10) as pearl:
        options = JobOptions("src -> ds3://b/")
        (bucket,) = interrupted(pearl, tree, options)
        write(tmp_path, {"a": bytes(35)}, time.time() + 60)
        items = [item(tmp_path / key, key) for key in CONTENTS]
        assert not errors(put(store_on(pearl, bucket, options=options), items))
        assert pearl.contents(bucket) == {**CONTENTS, "a": bytes(35)}


def test_another_transfer_is_told_which_job_is_in_its_way(tree: list[PutItem]) -> None:
    with Blackpearl(blob_size=10) as pearl:
        (bucket,) = interrupted(pearl, tree, JobOptions("theirs"))
        failed = errors(put(store_on(pearl, bucket), [text("a"), text("new")]))
        assert failed.keys() == {"a"}
        assert f"the job {pearl.jobs[0].id} is writing it" in failed["a"]
        assert "ingest jobs cancel ID" in failed["a"]
        assert pearl.contents(bucket).keys() == {"new"}


def test_a_job_that_is_over_is_not_resumed() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        put(store, [text("a")])
        with pytest.raises(StoreError):
            store.jobs.resume(pearl.jobs[0].id)
        with pytest.raises(StoreError):
            store.jobs.resume("00000000-0000-4000-8000-000000000000")
