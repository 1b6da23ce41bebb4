"""Bulk PUT jobs: what arrives, in which jobs and blobs, under which checksums and metadata."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl
from blackpearl_checksums import crc32c
from faultproxy import Answer, Rule
from ingest.errors import BucketNotFound, CredentialsRefused, StoreError
from ingest.settings import AccessKey
from ingest.storage.base import PutItem, Transfer
from ingest.storage.spectra import upload
from ingest.storage.spectra.jobs import JobOptions
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire
from pearls import AT_ONCE, errors, item, put, store_on, text
from stores import OLD, write

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENTS = {
    "a": b"content",
    "b/empty": b"",
    "b/exactly": bytes(range(20)),
    "b/more": os.urandom(101),
    "c d/é+%": b"x" * 10,
}
APPLIANCES: dict[str, dict[str, Any]] = {
    "plain": {},
    "blobs": {"blob_size": 10},
    "chunks of one": {"blob_size": 10, "chunk_blobs": 1},
    "shuffled": {"blob_size": 10, "chunk_blobs": 3, "shuffled": True},
    "repeated": {"blob_size": 10, "chunk_blobs": 3, "repeated": True},
    "full": {"blob_size": 10, "chunk_blobs": 2, "cache_size": 25, "tape_polls": 3},
    "all at once": {
        "blob_size": 7,
        "chunk_blobs": 2,
        "shuffled": True,
        "repeated": True,
        "cache_size": 20,
        "tape_polls": 2,
        "checksum_required": True,
    },
    "empty at once": {"empty_at_once": True},
    "old": {
        "omit": frozenset({"Nodes", "NodeId", "IsLatest", "InCache", "VersionId", "Bucket"}),
        "bom": True,
        "gone": 404,
        "bare_errors": True,
    },
}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("options", APPLIANCES.values(), ids=APPLIANCES)
def test_files_arrive_whatever_the_appliance_makes_of_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr(upload, "LARGE", 5)
    write(tmp_path, CONTENTS)
    moved: list[int] = []
    with Blackpearl(**options) as pearl:
        store = store_on(pearl)
        how = Transfer(threads=4, moved=moved.append)
        outcomes = put(store, [item(tmp_path / key, key) for key in CONTENTS], how)
        assert not errors(outcomes)
        assert {key: each.size for key, each in outcomes.items()} == {
            key: len(content) for key, content in CONTENTS.items()
        }
        assert pearl.contents(store.bucket) == CONTENTS
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]
        assert not pearl.seen("DELETE")
    assert sum(moved) == sum(map(len, CONTENTS.values()))


def test_each_blob_is_sent_once(tmp_path: Path) -> None:
    """Chunks come in no order, and come again."""
    write(tmp_path, CONTENTS)
    with Blackpearl(blob_size=10, chunk_blobs=2, shuffled=True, repeated=True) as pearl:
        store = store_on(pearl)
        assert not errors(put(store, [item(tmp_path / key, key) for key in CONTENTS]))
        sent = [
            (each.path, each.query) for each in pearl.seen("PUT", f"/{store.bucket}/", "offset")
        ]
    assert len(sent) == len(set(sent)) == 1 + 1 + 2 + 11 + 1


def test_directories_are_objects_of_no_bytes() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        directory = PutItem("a/b/", b"", "application/x-directory")
        assert not errors(put(store, [directory, text("a/c")]))
        assert pearl.contents(store.bucket) == {"a/b/": b"", "a/c": b"content"}
        (sent,) = pearl.seen("PUT", f"/{store.bucket}/a/b/", "offset=0")
        assert sent.headers["content-length"] == "0"


# Jobs


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        (None, [1000, 1000, 500]),
        (JobOptions(objects=100), [100] * 25),
        (JobOptions(objects=10**6), [2500]),
    ],
    ids=["by default", "as set", "more than can be"],
)
def test_a_job_has_so_many_objects(options: JobOptions | None, sizes: list[int]) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl, options=options)
        assert not errors(put(store, (text(f"{number:04}") for number in range(2500))))
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == sizes
        assert len(pearl.contents(store.bucket)) == 2500


def test_a_job_has_the_name_and_priority_that_are_asked_for() -> None:
    with Blackpearl() as pearl:
        put(store_on(pearl), [text("a")])
        put(store_on(pearl, options=JobOptions("nightly & more", "URGENT")), [text("a")])
        assert [job.name for job in pearl.jobs] == ["ingest", "nightly & more"]
        assert pearl.jobs[1].priority == "URGENT"
        assert "priority" not in pearl.seen("PUT", query="start_bulk_put")[0].query


def test_without_items_nothing_is_asked() -> None:
    """S-D15: an empty list is refused by the appliance."""
    with Blackpearl() as pearl:
        assert not put(store_on(pearl), [])
        assert not pearl.requests


def test_of_two_items_of_one_key_the_later_one_stays() -> None:
    """S-D15: in one job, the appliance refuses them."""
    with Blackpearl() as pearl:
        store = store_on(pearl)
        items = [text("a", b"first"), text("b"), text("a", b"second")]
        outcomes = list(store.put_many(items))
        assert [outcome.error for outcome in outcomes] == [None, None, None]
        assert pearl.contents(store.bucket) == {"a": b"second", "b": b"content"}
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == [2, 1]


def test_items_are_taken_job_by_job() -> None:
    """S-D22: what is given is any iterator, and is read once."""
    taken: list[str] = []

    def items() -> Iterator[PutItem]:
        for number in range(100):
            taken.append(f"{number:02}")
            yield text(taken[-1])

    with Blackpearl() as pearl:
        outcomes = store_on(pearl, options=JobOptions(objects=10)).put_many(items())
        assert next(outcomes).error is None
        assert len(taken) == 11
        assert not errors({each.key: each for each in outcomes})
        assert len(taken) == 100


def test_contents_in_memory_are_of_few_bytes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.storage.spectra.store._HELD", 100)
    with Blackpearl() as pearl:
        store = store_on(pearl)
        assert not errors(put(store, (text(f"{number}", b"x" * 30) for number in range(7))))
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == [3, 3, 1]


def test_blobs_go_side_by_side() -> None:
    """Four answers are held back until the four requests are there."""
    with Blackpearl() as pearl:
        store = store_on(pearl)
        together = threading.Barrier(4, timeout=10)
        how = Transfer(threads=4, pace=lambda _: together.wait() and None)
        assert not errors(put(store, [text(key) for key in "abcd"], how))


# Checksums

DIGESTS = {
    "MD5": ("content-md5", hashlib.md5(b"content", usedforsecurity=False).digest()),
    "CRC_32": ("content-crc32", zlib.crc32(b"content").to_bytes(4, "big")),
    "CRC_32C": ("content-crc32c", crc32c(b"content").to_bytes(4, "big")),
    "SHA_256": ("content-sha256", hashlib.sha256(b"content").digest()),
    "SHA_512": ("content-sha512", hashlib.sha512(b"content").digest()),
}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("kind", DIGESTS)
def test_each_blob_has_the_checksum_that_the_data_policy_asks_for(
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    """S-D12."""
    if kind == "CRC_32C":
        pytest.importorskip("google_crc32c", reason="google-crc32c is not installed")
    if large:
        monkeypatch.setattr(upload, "LARGE", 5)
    name, digest = DIGESTS[kind]
    with Blackpearl(blob_size=7) as pearl:
        store = store_on(pearl, pearl.new_bucket(kind, checksum_required=True))
        assert not errors(put(store, [text("a", b"content" * 3)]))
        sent = pearl.seen("PUT", f"/{store.bucket}/a", "offset")
        assert [base64.b64decode(each.headers[name]) for each in sent] == [digest] * 3
        assert pearl.contents(store.bucket) == {"a": b"content" * 3}


def test_without_a_checksum_in_the_data_policy_none_is_sent() -> None:
    """S-D12: the appliance refuses one that it has not asked for."""
    with Blackpearl() as pearl:
        store = store_on(pearl, pearl.new_bucket("NONE"))
        assert not errors(put(store, [text("a")]))
        (sent,) = pearl.seen("PUT", f"/{store.bucket}/a")
        assert not [name for name in sent.headers if name in {n for n, _ in DIGESTS.values()}]


def test_a_data_policy_is_asked_for_once() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl, options=JobOptions(objects=2))
        put(store, [text(key) for key in "abcdef"])
        assert len(pearl.seen("GET", "/_rest_/data_policy/")) == 1


def test_a_kind_of_checksum_that_is_not_known_is_an_error() -> None:
    """S-D12."""
    with Blackpearl() as pearl:
        policy = Answer(200, code="", message="<Data><ChecksumType>BLAKE3</ChecksumType></Data>")
        pearl.rules.append(Rule(policy, "GET", "/_rest_/data_policy/"))
        store = store_on(pearl)
        assert "BLAKE3" in errors(put(store, [text("a")]))["a"]


# Metadata


def test_metadata_and_type_come_back() -> None:
    told = {
        "plain": "value",
        "Upper-Case": "Value",
        "profile": "1",
        "profile-name": "2",
        "ação ção": 'café + 100% = \U0001f600, "quoted"; a\tb',
        "empty": "",
    }
    with Blackpearl(blob_size=5) as pearl:
        store = store_on(pearl)
        assert not errors(put(store, [text("a", b"several blobs", told)]))
        head = store.head("a")
    assert head.metadata == {name.lower(): value for name, value in told.items()}
    assert head.content_type == "text/plain"


def test_metadata_is_written_as_the_vendors_java_sdk_does() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        put(store, [PutItem("a", b"", "text/plain", {"a b": "c+d %20/é", "A": "1", "a": "2"})])
        stored = pearl.metadata(store.bucket, "a")
        assert stored["a%20b"] == "c%2Bd%20%2520/%C3%A9"
        assert stored["a"] == "1,2"


def test_metadata_of_others_is_read_as_it_was_meant() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        pearl.put(store.bucket, "a", b"", {"raw": "a+b 100%", "java": "c%2Bd%20e"})
        assert store.head("a").metadata == {"raw": "a+b 100%", "java": "c+d e"}


def test_metadata_goes_with_every_blob() -> None:
    with Blackpearl(blob_size=5) as pearl:
        store = store_on(pearl)
        put(store, [text("a", b"several blobs", {"made-by": "me"})])
        sent = pearl.seen("PUT", f"/{store.bucket}/a", "offset")
        assert [each.headers["x-amz-meta-made-by"] for each in sent] == ["me"] * 3


def test_a_small_object_carries_the_hash_of_its_content() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        put(store, [text("a"), text("b", b"", {"sha256": "given"})])
        assert store.head("a").metadata["sha256"] == hashlib.sha256(b"content").hexdigest()
        assert store.head("b").metadata["sha256"] == "given"


# What is there already


def test_an_object_is_replaced_where_versions_are_kept() -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        put(store, [text("a", b"old")])
        assert not errors(put(store, [text("a", b"new")]))
        assert pearl.contents(store.bucket) == {"a": b"new"}


def test_where_no_versions_are_kept_what_is_there_is_told_and_the_rest_is_sent() -> None:
    """S-D23: nothing is overwritten that the appliance refuses to overwrite."""
    with Blackpearl(versioning="NONE") as pearl:
        store = store_on(pearl)
        there = {f"{number:02}": b"old" for number in range(0, 40, 3)}
        for key, content in there.items():
            pearl.put(store.bucket, key, content)
        failed = errors(put(store, [text(f"{number:02}") for number in range(40)]))
        assert failed.keys() == there.keys()
        assert "OBJECT_ALREADY_EXISTS" in failed["00"]
        assert "keeps no versions: delete the object first" in failed["00"]
        found = pearl.contents(store.bucket)
        assert found == {
            f"{number:02}": there.get(f"{number:02}", b"content") for number in range(40)
        }
        # Not half of a job, and half of that, for each of those that are there.
        assert len(pearl.seen("PUT", query="start_bulk_put")) == 2


@pytest.mark.parametrize("versioning", ["NONE", "KEEP_LATEST"])
def test_without_overwrite_what_is_there_stays(versioning: str) -> None:
    with Blackpearl(versioning=versioning) as pearl:
        store = store_on(pearl)
        pearl.put(store.bucket, "a", b"old")
        outcomes = put(store, [text("a"), text("b")], Transfer(overwrite=False))
        assert not errors(outcomes)
        assert {key: each.existed for key, each in outcomes.items()} == {"a": True, "b": False}
        assert pearl.contents(store.bucket) == {"a": b"old", "b": b"content"}


def test_names_that_the_appliance_refuses_do_not_keep_the_rest_from_being_sent() -> None:
    with Blackpearl(ltfs_names=True) as pearl:
        store = store_on(pearl)
        keys = [f"{number}:" if number % 7 == 0 else str(number) for number in range(20)]
        failed = errors(put(store, map(text, keys)))
        assert failed.keys() == {"0:", "7:", "14:"}
        assert len(pearl.contents(store.bucket)) == 17


@pytest.mark.parametrize("key", ["a\x01b", "a\udc80", "\uffff"])
def test_a_key_that_xml_cannot_carry_is_told_and_the_rest_is_sent(key: str) -> None:
    with Blackpearl() as pearl:
        store = store_on(pearl)
        failed = errors(put(store, [text("a"), text(key), text("b")]))
        assert failed.keys() == {key}
        assert "cannot carry this key" in failed[key]
        assert pearl.contents(store.bucket).keys() == {"a", "b"}


def test_a_bucket_that_does_not_exist_is_named() -> None:
    with Blackpearl() as pearl:
        for how in (Transfer(), Transfer(overwrite=False)):
            (outcome,) = put(store_on(pearl, "none-such"), [text("a")], how).values()
            assert isinstance(outcome.error, BucketNotFound)
            assert "ds3://none-such/a" in str(outcome.error)
            assert pearl.endpoint in str(outcome.error)


@pytest.mark.parametrize(
    ("access", "secret", "hint"),
    [("other", "secret", "DS3_ACCESS_KEY"), ("c3BlY3RyYQ==", "other-secret", "DS3_SECRET_KEY")],
)
def test_refused_credentials_are_told_as_such(access: str, secret: str, hint: str) -> None:
    with Blackpearl() as pearl:
        key = AccessKey(access, secret)
        wire = Wire(Appliance(pearl.endpoint, key, patience=AT_ONCE))
        store = SpectraStore(pearl.new_bucket(), wire)
        outcomes = put(store, [text("a"), text("b")])
    for outcome in outcomes.values():
        assert isinstance(outcome.error, CredentialsRefused)
        assert hint in str(outcome.error)
        assert secret not in str(outcome.error)


# Threads and pace


def test_what_taking_an_item_raises_is_raised() -> None:
    def items() -> Iterator[PutItem]:
        yield text("a")
        raise StoreError("the listing broke off")

    with Blackpearl() as pearl, pytest.raises(StoreError, match="broke off"):
        list(store_on(pearl).put_many(items()))


def test_once_cancelled_nothing_is_begun() -> None:
    how = Transfer()
    how.cancelled.set()
    with Blackpearl() as pearl:
        store = store_on(pearl)
        put(store, map(text, "abc"), how)
        list(store.delete_many("abc", how))
        assert not pearl.requests


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
def test_bytes_are_paced_before_they_are_sent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr(upload, "LARGE", 5)
    content = os.urandom(3 * 1024**2 + 1)
    path = write(tmp_path, {"a": content}, OLD) / "a"
    paced: list[int] = []
    with Blackpearl() as pearl:
        store = store_on(pearl)
        assert not errors(put(store, [item(path)], Transfer(pace=paced.append)))
        assert pearl.contents(store.bucket) == {"a": content}
    assert sum(paced) == len(content)
    assert len(paced) == (4 if large else 1)
