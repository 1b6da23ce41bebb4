"""Bulk PUT jobs whose files change, that are ended or lost, and that are resumed."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Before, Rule
from ingest.errors import StoreError
from ingest.storage.base import PutItem, Transfer
from ingest.storage.spectra import upload
from ingest.storage.spectra.jobs import JobOptions, Wanted
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.place import Place
from pearls import errors, item, put, store_on, text
from stores import OLD, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from blackpearl_jobs import Job

MIB = 1024**2


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
