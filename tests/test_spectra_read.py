"""Reading from the Spectra store without a file, and what it tells of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl, Corrupt
from faultproxy import Answer, Rule, Truncate
from ingest.errors import BucketNotFound, NotFound, StoreError
from ingest.storage.base import CopyItem, Entry, Transfer
from pearls import AT_ONCE, store_on
from stores import OLD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(101))
ORDERS: dict[str, dict[str, Any]] = {
    "one blob": {},
    "blobs": {"blob_size": 10},
    "chunks": {"blob_size": 10, "chunk_blobs": 2},
    "from tape": {"blob_size": 10, "chunk_blobs": 2, "tape_polls": 2},
    "in no order": {"blob_size": 10, "chunk_blobs": 3, "shuffled": True},
}


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10) as pearl:
        yield pearl


@pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
def test_an_object_is_read_from_its_first_byte_to_its_last(options: dict[str, Any]) -> None:
    with Blackpearl(**options) as pearl:
        store = store_on(pearl)
        pearl.put(store.bucket, "a b/é", CONTENT)
        pearl.put(store.bucket, "empty", b"")
        assert store.read("a b/é") == b"".join(store.stream("a b/é")) == CONTENT
        assert store.read("empty") == b""
        assert [job.status for job in pearl.jobs] == ["COMPLETED"] * 3
        assert {job.in_order for job in pearl.jobs} == {True}


@pytest.mark.parametrize("options", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize(
    "part", [(0, 1), (0, 10), (5, 5), (7, 20), (10, 20), (95, 6), (100, 1), (0, 101)]
)
def test_a_part_of_an_object_is_read(options: dict[str, Any], part: tuple[int, int]) -> None:
    with Blackpearl(**options) as pearl:
        store = store_on(pearl)
        pearl.put(store.bucket, "a", CONTENT)
        start, length = part
        assert b"".join(store.stream("a", *part)) == CONTENT[start : start + length]


@pytest.mark.parametrize(
    ("offset", "length"), [(95, 100), (95, None), (101, None), (500, 1), (0, None)]
)
def test_a_part_ends_with_the_object(pearl: Blackpearl, offset: int, length: int | None) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT)
    assert b"".join(store.stream("a", offset, length)) == CONTENT[offset:]


def test_of_a_part_only_its_blobs_are_fetched(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT)
    assert b"".join(store.stream("a", 15, 10)) == CONTENT[15:25]
    ranges = [each.headers["range"] for each in pearl.seen("GET", "/a", "offset")]
    assert ranges == ["bytes=15-19", "bytes=20-24"]


def test_who_reads_no_further_leaves_no_job(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT)
    pieces: Any = store.stream("a")
    assert next(pieces) == CONTENT[:10]
    pieces.close()
    assert [job.status for job in pearl.jobs] == ["COMPLETED"]


def test_what_is_cut_short_is_completed(pearl: Blackpearl) -> None:
    """S-D03."""
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT)
    pearl.rules.append(Rule(Truncate(5, relabel=True), "GET", "/a", "offset=20"))
    assert store.read("a") == CONTENT


def test_what_is_not_of_its_checksum_is_told(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT)
    pearl.rules.append(Rule(Corrupt(1), "GET", "/a", "offset=20", times=None))
    with pytest.raises(StoreError, match="the MD5") as told:
        store.read("a")
    assert f"ds3://{store.bucket}/a" in str(told.value)


def test_what_is_not_there_is_not_found(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    for look in (store.head, store.read):
        with pytest.raises(NotFound) as told:
            look("a/none")
        assert f"{store.url}/a/none at {pearl.endpoint}" in str(told.value)
        assert not isinstance(told.value, BucketNotFound)
    with pytest.raises(BucketNotFound):
        store_on(pearl, "none-such").read("a")


def test_a_head_says_what_is_known(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", CONTENT, {"one": "1"})
    head = store.head("a")
    assert (head.size, head.metadata, head.etag) == (101, {"one": "1"}, None)
    assert head.modified > OLD


@pytest.mark.parametrize("kind", ["MD5", "CRC_32", "CRC_32C", "SHA_256", "SHA_512", "NONE"])
def test_a_file_is_compared_with_the_checksums_of_an_objects_blobs(
    pearl: Blackpearl, tmp_path: Path, kind: str
) -> None:
    store = store_on(pearl, pearl.new_bucket(kind))
    pearl.put(store.bucket, "a", CONTENT)
    head, told = store.head("a"), None if kind == "NONE" else True
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    assert store.has_content(head, path) is told
    path.write_bytes(CONTENT[:-1] + b"!")
    assert store.has_content(head, path) is (told and False)


def test_a_head_of_a_thousand_blobs_is_read(pearl: Blackpearl) -> None:
    """Each has a header of its own."""
    store = store_on(pearl)
    pearl.put(store.bucket, "a", bytes(10_000))
    assert store.head("a").size == 10_000


def test_an_appliance_of_version_3_says_less(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    headers = (("Last-Modified", "Sun, 13 Sep 2020 12:26:40 GMT"),)
    pearl.rules.append(Rule(Answer(200, code="", message="", headers=headers), "HEAD"))
    head = store.head("a")
    assert (head.modified, head.metadata) == (OLD, {})


# Copies


def test_an_object_is_copied_with_its_type_and_metadata(pearl: Blackpearl) -> None:
    store, moved = store_on(pearl), list[int]()
    pearl.put(store.bucket, "a", CONTENT, {"content-type": "text/csv", "one": "1", "two": "2"})
    items = [
        CopyItem(store.head("a"), "b/renamed"),
        CopyItem(store.head("a"), "c", content_type="x/y", metadata={"two": "more"}),
    ]
    outcomes = list(store.copy_many(items, Transfer(moved=moved.append)))
    assert [(each.size, each.error) for each in outcomes] == [(101, None)] * 2
    assert pearl.contents(store.bucket) == dict.fromkeys(("a", "b/renamed", "c"), CONTENT)
    head = store.head("b/renamed")
    assert (head.content_type, head.metadata) == ("text/csv", {"one": "1", "two": "2"})
    head = store.head("c")
    assert (head.content_type, head.metadata) == ("x/y", {"one": "1", "two": "more"})
    assert sum(moved) == 202


def test_a_copy_comes_from_another_bucket_of_the_same_appliance(pearl: Blackpearl) -> None:
    source, target = store_on(pearl), store_on(pearl)
    pearl.put(source.bucket, "a", CONTENT)
    assert target.copies_from(source) == source.bucket
    (outcome,) = target.copy_many([CopyItem(source.head("a"), "a", source.bucket)])
    assert outcome.error is None
    assert pearl.contents(target.bucket) == {"a": CONTENT}
    with Blackpearl() as other:
        assert store_on(other).copies_from(source) is None


def test_what_cannot_be_copied_is_told_and_the_rest_is(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", b"content")
    pearl.put(store.bucket, "changed", b"content")
    changed = store.head("changed")
    pearl.put(store.bucket, "changed", b"other")
    items = [
        CopyItem(Entry("gone", 1, OLD), "b"),
        CopyItem(changed, "c"),
        CopyItem(Entry("a", 7, 0.0, store.head("a").etag), "d"),
        CopyItem(Entry("a", 7, 0.0, "f" * 32), "e"),
    ]
    outcomes = {each.key: each for each in store.copy_many(items)}
    assert isinstance(outcomes["b"].error, NotFound)
    assert "has changed since it was listed" in str(outcomes["c"].error)
    assert outcomes["d"].error is None
    assert "has changed since it was listed" in str(outcomes["e"].error)
    assert pearl.contents(store.bucket).keys() == {"a", "changed", "d"}


def test_without_overwrite_a_copy_leaves_what_is_there(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.put(store.bucket, "a", b"new")
    pearl.put(store.bucket, "b", b"old")
    items = [CopyItem(store.head("a"), key) for key in "bc"]
    outcomes = {each.key: each for each in store.copy_many(items, Transfer(overwrite=False))}
    assert {key: each.existed for key, each in outcomes.items()} == {"b": True, "c": False}
    assert pearl.contents(store.bucket) == {"a": b"new", "b": b"old", "c": b"new"}


def test_a_question_is_not_asked_for_ever(pearl: Blackpearl) -> None:
    store = store_on(pearl)
    pearl.rules.append(Rule(Answer(500), "HEAD", times=None))
    with pytest.raises(StoreError, match="HTTP 500"):
        store.head("a")
    assert len(pearl.seen("HEAD")) == AT_ONCE.attempts
