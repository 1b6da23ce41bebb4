"""Bulk GET jobs where something comes wrong, or not at all: what never lands, and what goes on."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl, Corrupt
from faultproxy import Answer, Before, DropAnswer, FaultProxy, Rule, StallAnswer, Truncate
from ingest.errors import BucketNotFound, NotFound
from ingest.files.landing import Landing
from ingest.storage.base import Entry, GetItem, Transfer
from ingest.storage.spectra import download
from ingest.storage.spectra.patience import Patience
from pearls import AT_ONCE, errors, fetch, filled, get, not_waiting, store_on
from runs import files
from stores import OLD, write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.storage.spectra.store import SpectraStore

MIB = 1024**2


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the store waits for the appliance, each time; it goes on at once."""
    return not_waiting(monkeypatch)


# What comes wrong


@pytest.mark.parametrize("kind", ["MD5", "CRC_32", "CRC_32C", "SHA_256", "SHA_512"])
@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
def test_what_is_not_of_its_checksum_is_fetched_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    """S-D19: the vendor's SDK compares nothing that it downloads."""
    if kind == "CRC_32C":
        pytest.importorskip("google_crc32c", reason="google-crc32c is not installed")
    if large:
        monkeypatch.setattr(download, "LARGE", 5)
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content", "b": b"other"}, checksum_type=kind))
        pearl.rules.append(Rule(Corrupt(3), "GET", "/a", "offset"))
        assert not errors(get(store, tmp_path))
        assert len(pearl.jobs) == 2
        assert all(job.status == "COMPLETED" for job in pearl.jobs)
    assert files(tmp_path) == {"a": b"content", "b": b"other"}


@pytest.mark.parametrize("size", [7, 35])
def test_what_is_always_wrong_never_lands_and_the_rest_does(tmp_path: Path, size: int) -> None:
    """S-D19."""
    write(tmp_path, {"bad": b"old"})
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"bad": b"x" * size, "good": b"y" * 35}))
        pearl.rules.append(Rule(Corrupt(3), "GET", "/bad", "offset=0", times=None))
        failed = errors(get(store, tmp_path))
        assert failed.keys() == {"bad"}
        assert "the MD5" in failed["bad"]
        assert f"ds3://{store.bucket}/bad at {pearl.endpoint}" in failed["bad"]
        assert len(pearl.jobs) == 3
        assert not [job for job in pearl.jobs if job.status == "IN_PROGRESS"]
    assert files(tmp_path) == {"bad": b"old", "good": b"y" * 35}


def test_a_hash_in_the_metadata_is_compared_as_well(tmp_path: Path) -> None:
    with Blackpearl(checksum_type="NONE") as pearl:
        bucket = pearl.new_bucket()
        pearl.put(bucket, "a", b"content", {"sha256": hashlib.sha256(b"other").hexdigest()})
        pearl.put(bucket, "b", b"content", {"sha256": hashlib.sha256(b"content").hexdigest()})
        failed = errors(get(store_on(pearl, bucket), tmp_path))
        assert failed.keys() == {"a"}
        assert "SHA_256" in failed["a"]
    assert files(tmp_path) == {"b": b"content"}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("relabel", [False, True])
def test_what_is_cut_short_is_completed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    relabel: bool,  # noqa: FBT001 - a parameter
    large: bool,  # noqa: FBT001 - as above
) -> None:
    """S-D03. Of what has come, nothing is fetched again."""
    if large:
        monkeypatch.setattr(download, "LARGE", 5)
    content = os.urandom(3 * MIB)
    moved: list[int] = []
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": content}))
        pearl.rules.append(Rule(Truncate(2 * MIB, relabel=relabel), "GET", "/a", "offset"))
        assert not errors(get(store, tmp_path, how=Transfer(moved=moved.append)))
        first, second = pearl.seen("GET", "/a", "offset")
        assert "range" not in first.headers
        assert second.headers["range"].endswith(f"-{3 * MIB - 1}")
        assert int(second.headers["range"].removeprefix("bytes=").partition("-")[0]) >= MIB
    assert files(tmp_path) == {"a": content}
    assert sum(moved) == len(content)


@pytest.mark.parametrize("relabel", [False, True])
def test_what_is_always_cut_short_never_lands(tmp_path: Path, relabel: bool) -> None:  # noqa: FBT001 - a parameter
    """S-D03."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content" * 100}))
        pearl.rules.append(Rule(Truncate(0, relabel=relabel), "GET", "/a", "offset", times=None))
        assert errors(get(store, tmp_path, how=Transfer(keep_partial=False))).keys() == {"a"}
        assert len(pearl.seen("GET", "/a", "offset")) == AT_ONCE.attempts
    assert files(tmp_path) == {}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
def test_what_is_lost_after_the_job_has_ended_comes_in_another(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    """To the appliance a blob is done with once it is sent, and the job with the last of them."""
    if large:
        monkeypatch.setattr(download, "LARGE", 1)
    with Blackpearl() as pearl, FaultProxy(pearl.endpoint) as proxy:
        bucket = filled(pearl, {"a": b"content"})

        def until_it_has_ended() -> None:
            pearl.wait_until(lambda: pearl.jobs[0].status == "COMPLETED")

        proxy.rules += [
            Rule(Truncate(3), "GET", "/a", "offset"),
            Rule(Before(until_it_has_ended), "GET", "/a", "offset"),
        ]
        assert not errors(get(store_on(pearl, bucket, endpoint=proxy.endpoint_url), tmp_path))
        assert len(pearl.jobs) == 2
    assert files(tmp_path) == {"a": b"content"}


def test_another_part_than_was_asked_for_never_lands(tmp_path: Path) -> None:
    """As from a proxy that takes no notice of a range, where there is no checksum to tell."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content"}, checksum_type="NONE"))
        pearl.rules += [
            Rule(Truncate(3), "GET", "/a", "offset"),
            Rule(Answer(200, code="", message="cont"), "GET", "/a", "offset", times=None),
        ]
        failed = errors(get(store, tmp_path))
        assert "not the part asked for" in failed["a"]
    assert files(tmp_path) == {}


def test_more_than_the_blob_has_never_lands(tmp_path: Path) -> None:
    with Blackpearl(checksum_type="NONE") as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content"}))
        more = Answer(200, code="", message="content and more")
        pearl.rules.append(Rule(more, "GET", "/a", "offset", times=None))
        assert "more came" in errors(get(store, tmp_path))["a"]
    assert files(tmp_path) == {}


FAILURES = {
    "500": Answer(500, "InternalError", "no"),
    "502 of a proxy": Answer(502, code="", message="<html><hr><p>Bad Gateway</html>"),
    "drop the answer": DropAnswer(),
    "drop half of the answer": DropAnswer(20),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_a_blob_that_fails_on_the_way_is_fetched_again(tmp_path: Path, failure: Any) -> None:
    """S-D06, S-D17."""
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"large": bytes(range(30)), "small": b"small"}))
        names = ("/large", "/small")
        pearl.rules += [Rule(failure, "GET", name, "offset", times=2) for name in names]
        assert not errors(get(store, tmp_path))
    assert files(tmp_path) == {"large": bytes(range(30)), "small": b"small"}


@pytest.mark.parametrize("status", [307, 503])
def test_what_is_not_in_the_cache_yet_is_waited_for(
    tmp_path: Path, waits: list[float], status: int
) -> None:
    """S-D10."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content"}))
        tape = Answer(status, "TemporaryRedirect", "on tape", (("Retry-After", "60"),))
        pearl.rules.append(Rule(tape, "GET", "/a", "offset", times=3))
        assert not errors(get(store, tmp_path))
    assert waits == [60.0] * 3
    assert files(tmp_path) == {"a": b"content"}


@pytest.mark.usefixtures("waits")
def test_a_tape_that_never_comes_is_given_up(tmp_path: Path) -> None:
    """S-D10."""
    with Blackpearl(tape_polls=10**9, retry_after=30) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content"}), patience=Patience(waits=5))
        failed = errors(get(store, tmp_path, how=Transfer(keep_partial=False)))
        assert "nothing came from tape" in failed["a"]
        assert "given up after 5 waits" in failed["a"]
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_an_appliance_that_stops_half_way_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    """S-D20."""
    with Blackpearl(checksum_type="NONE") as pearl:
        patience = Patience(attempts=2, backoff=AT_ONCE.backoff, answer_s=0.2)
        store = store_on(pearl, filled(pearl, {"a": b"content" * 1000}), patience=patience)
        pearl.rules.append(
            Rule(StallAnswer(threading.Event(), 50), "GET", "/a", "offset", times=None)
        )
        assert "timed out" in errors(get(store, tmp_path))["a"].lower()
    assert files(tmp_path) == {}


# What is not there, or another


def test_what_is_gone_is_told_and_the_rest_lands(tmp_path: Path) -> None:
    with Blackpearl() as pearl:
        contents = {f"{number:02}": b"x" for number in range(20)}
        store = store_on(pearl, filled(pearl, contents))
        gone = [GetItem(Entry(key, 1, OLD), key) for key in ("gone", "also gone")]
        items = [GetItem(entry, entry.key) for entry in store.list()]
        outcomes = fetch(store, tmp_path, [*items[:7], gone[0], *items[7:], gone[1]])
        assert errors(outcomes).keys() == {"gone", "also gone"}
        assert isinstance(outcomes["gone"].error, NotFound)
        assert f"ds3://{store.bucket}/gone" in str(outcomes["gone"].error)
        assert len(pearl.jobs) == 1
    assert files(tmp_path) == contents


def test_one_that_is_gone_alone_is_not_found(tmp_path: Path) -> None:
    with Blackpearl() as pearl:
        outcomes = fetch(store_on(pearl), tmp_path, [GetItem(Entry("gone", 1, OLD), "gone")])
        assert isinstance(outcomes["gone"].error, NotFound)
        assert not isinstance(outcomes["gone"].error, BucketNotFound)


def test_a_bucket_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with Blackpearl() as pearl:
        items = [GetItem(Entry(key, 1, OLD), key) for key in "ab"]
        outcomes = fetch(store_on(pearl, "none-such"), tmp_path, items)
        for outcome in outcomes.values():
            assert isinstance(outcome.error, BucketNotFound)
            assert "ds3://none-such/" in str(outcome.error)


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("content", [b"longer content", b"CONTENT"])
def test_an_object_that_changed_since_it_was_listed_never_lands_mixed(
    tmp_path: Path,
    content: bytes,
    is_plain: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Its version tells; an entry without one, its length."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content", "b": b"stays"}))
        entries = [Entry(e.key, e.size, e.modified) if is_plain else e for e in store.list()]
        pearl.put(store.bucket, "a", content)
        failed = errors(fetch(store, tmp_path, [GetItem(e, e.key) for e in entries]))
        if is_plain and len(content) == 7:
            assert files(tmp_path) == {"a": content, "b": b"stays"}
            return
        assert failed.keys() == {"a"}
        assert ("changed" if not is_plain else "when it was listed") in failed["a"]
    assert files(tmp_path) == {"b": b"stays"}


# Going on


def torn(
    pearl: Blackpearl, store: SpectraStore, root: Path, how: Transfer, *, blobs: int = 1
) -> list[str]:
    """Begin to fetch, fail after so many blobs, and return what lies there."""
    rule = Rule(Answer(403, "AccessDenied"), "GET", "/a", "offset", times=None, skip=blobs)
    pearl.rules.append(rule)
    assert errors(get(store, root, how=how)).keys() == {"a"}
    pearl.rules.remove(rule)
    return [name for name in files(root) if name.endswith(".partial")]


@pytest.mark.parametrize("blobs", [1, 3])
def test_what_is_there_of_a_large_object_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blobs: int
) -> None:
    monkeypatch.setattr(download, "LARGE", 5)
    monkeypatch.setattr("ingest.storage.spectra.landed._LARGEST_PART", MIB)
    content, moved = os.urandom(3 * MIB), list[int]()
    with Blackpearl(blob_size=3 * MIB // blobs) as pearl:
        store = store_on(pearl, filled(pearl, {"a": content}))
        if blobs == 1:
            pearl.rules.append(Rule(Truncate(MIB + 5), "GET", "/a", "offset"))
        assert torn(pearl, store, tmp_path, Transfer(threads=1), blobs=blobs // 3)
        before = len(pearl.seen("GET", "/a", "offset"))
        assert not errors(get(store, tmp_path, how=Transfer(threads=1, moved=moved.append)))
        asked = pearl.seen("GET", "/a", "offset")[before:]
        ranges = [each.headers.get("range") for each in asked]
        assert ranges == ([f"bytes={MIB}-{3 * MIB - 1}"] if blobs == 1 else [None, None])
        assert not [job for job in pearl.jobs if job.status == "IN_PROGRESS"]
    assert files(tmp_path) == {"a": content}
    assert sum(moved) == len(content)


@pytest.mark.parametrize("kind", ["MD5", "CRC_32C"])
def test_what_an_earlier_transfer_has_left_is_checked_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "CRC_32C":
        pytest.importorskip("google_crc32c", reason="google-crc32c is not installed")
    monkeypatch.setattr(download, "LARGE", 5)
    monkeypatch.setattr("ingest.storage.spectra.landed._LARGEST_PART", MIB)
    content = os.urandom(3 * MIB)
    with Blackpearl(checksum_type=kind) as pearl:
        store = store_on(pearl, filled(pearl, {"a": content}))
        pearl.rules.append(Rule(Truncate(MIB + 5), "GET", "/a", "offset"))
        (name,) = torn(pearl, store, tmp_path, Transfer(threads=1), blobs=0)
        with (tmp_path / name).open("r+b") as file:
            file.write(b"other")
        assert not errors(get(store, tmp_path))
    assert files(tmp_path) == {"a": content}


@pytest.mark.parametrize("keep", [False, True])
def test_what_is_there_after_a_failure_is_kept_only_where_it_is_to_be(
    tmp_path: Path,
    keep: bool,  # noqa: FBT001 - a parameter
) -> None:
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"x" * 30}))
        left = torn(pearl, store, tmp_path, Transfer(threads=1, keep_partial=keep))
    assert bool(left) is keep


@pytest.mark.parametrize("keep", [False, True])
def test_a_transfer_that_is_broken_off_leaves_what_it_is_to_leave(
    tmp_path: Path,
    keep: bool,  # noqa: FBT001 - a parameter
) -> None:
    how = Transfer(threads=1, keep_cancelled=keep)
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"x" * 30, "b": b"y"}))
        pearl.rules.append(Rule(Before(how.cancelled.set), "GET", "/a", "offset=10"))
        assert errors(get(store, tmp_path, how=how))
        (job,) = pearl.jobs
        assert job.status == "COMPLETED"
    assert bool([name for name in files(tmp_path) if name.endswith(".partial")]) is keep
    assert "a" not in files(tmp_path)


@pytest.mark.parametrize("gone", [404, 410])
def test_a_job_that_is_lost_fails_what_is_left_at_once(tmp_path: Path, gone: int) -> None:
    """S-D09."""
    with Blackpearl(lose_job_after=5, gone=gone) as pearl:
        contents = {f"{number:02}": b"x" for number in range(50)}
        store = store_on(pearl, filled(pearl, contents))
        outcomes = get(store, tmp_path, how=Transfer(threads=2))
        assert len(outcomes) == 50
        assert "is not known to the appliance any more" in errors(outcomes)["49"]
        assert len(pearl.seen("GET", query="offset")) < 12


def test_a_job_that_somebody_cancels_is_told_as_such(tmp_path: Path) -> None:
    with Blackpearl(blob_size=10, chunk_blobs=1) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"x" * 50}))
        pearl.rules.append(Rule(Before(pearl.cancel), "GET", "/a", "offset=20"))
        assert "is CANCELED" in errors(get(store, tmp_path, how=Transfer(threads=1)))["a"]


def test_many_objects_in_many_blobs_hold_few_files_open(tmp_path: Path) -> None:
    """Their blobs come in no order at all."""
    resource = pytest.importorskip("resource", reason="there are no limits here")
    contents = {f"{number:03}": bytes([number % 256]) * 25 for number in range(300)}
    with Blackpearl(blob_size=10, chunk_blobs=100, shuffled=True) as pearl:
        store = store_on(pearl, filled(pearl, contents))
        entries = list(store.list())
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 200), hard))
        try:
            with Landing(tmp_path) as landing:
                items = [GetItem(entry, entry.key) for entry in entries]
                outcomes = list(store.get_many(items, landing, Transfer(threads=8)))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert not [each.error for each in outcomes if each.error]
    assert files(tmp_path) == contents
