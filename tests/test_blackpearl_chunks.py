"""The BlackPearl of tests: which chunks of a job are offered, when, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from blackpearl_caller import Caller, job_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"0123456789abcdefghijX"
BLOBS = [("x", 0, 10), ("x", 10, 10), ("x", 20, 1)]


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10, chunk_blobs=2, retry_after=7) as pearl:
        yield pearl


@pytest.fixture
def caller(pearl: Blackpearl) -> Iterator[Caller]:
    with Caller(pearl.port) as caller:
        yield caller


def test_chunks_are_in_no_order_and_offered_again() -> None:
    sizes = {f"k{number}": 25 for number in range(4)}
    blobs = {(key, *each) for key in sizes for each in ((0, 10), (10, 10), (20, 5))}
    options = {"blob_size": 10, "chunk_blobs": 3, "shuffled": True, "repeated": True}
    with Blackpearl(**options) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        said = caller.start_put(bucket, sizes)
        assert said.blobs != sorted(said.blobs, key=str)
        assert (set(said.blobs), len(said.blobs)) == (blobs, len(blobs))
        job = job_of(said)
        offered = caller.chunks(job).xml.iterfind("Objects")
        assert [each.get("ChunkNumber") for each in offered] == ["3", "2", "1", "0"]
        first = caller.chunks(job, "&preferred_number_of_chunks=1")
        for name, offset, length in first.blobs:
            assert caller.put_blob(f"/{bucket}/{name}", job, offset, b"x" * length).status == 200
        again = caller.chunks(job, "&preferred_number_of_chunks=1")
        assert again.blobs == first.blobs
        assert {each.get("InCache") for each in again.xml.iter("Object")} == {"true"}


def test_chunks_can_be_asked_for_in_order(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "x", CONTENT)
    said = caller.start_get(bucket, ["x"], "&chunk_client_processing_order_guarantee=IN_ORDER")
    job = job_of(said)
    assert said.xml.get("ChunkClientProcessingOrderGuarantee") == "IN_ORDER"
    assert caller.chunks(job).blobs == BLOBS[:2]
    for offset in (0, 10):
        caller.get_blob(f"/{bucket}/x", job, offset)
    assert caller.chunks(job).blobs == BLOBS[2:]


def test_a_tape_is_read_in_polls() -> None:
    options = {"blob_size": 10, "chunk_blobs": 1, "tape_polls": 2, "retry_after": 300}
    with Blackpearl(**options) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        pearl.put(bucket, "x", CONTENT[:20])
        job = job_of(caller.start_get(bucket, ["x"]))
        assert caller.get_blob(f"/{bucket}/x", job, 0).status == 307
        said = [caller.chunks(job) for _ in range(5)]
        assert [len(each.blobs) for each in said] == [0, 0, 1, 1, 2]
        assert {each.headers["retry-after"] for each in said} == {"300"}
        assert caller.get_blob(f"/{bucket}/x", job, 0).body == CONTENT[:10]


def test_a_plain_read_is_redirected_until_the_tape_was_read() -> None:
    with Blackpearl(tape_polls=2, retry_after=60) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        assert caller.ask("PUT", f"/{bucket}/x y", body=b"1").status == 200
        assert caller.ask("GET", f"/{bucket}/x y", "cached_only").code == "ObjectNotFound"
        said = [caller.ask("GET", f"/{bucket}/x y") for _ in range(3)]
        assert [each.status for each in said] == [307, 307, 200]
        assert said[0].headers["retry-after"] == "60"
        assert said[0].headers["location"] == f"{pearl.endpoint}/{bucket}/x%20y"


def test_a_full_cache_offers_no_chunk_until_one_is_on_tape() -> None:
    options = {"blob_size": 10, "chunk_blobs": 1, "cache_size": 15, "tape_polls": 2}
    with Blackpearl(**options) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        job = job_of(caller.start_put(bucket, {"x": 20}))
        assert caller.chunks(job).blobs == [("x", 0, 10)]
        full = caller.put_blob(f"/{bucket}/x", job, 10, b"1" * 10)
        assert (full.status, full.code) == (307, "TemporaryRedirect")
        assert full.headers["location"] == f"{pearl.endpoint}/{bucket}/x?job={job}&offset=10"
        assert caller.put_blob(f"/{bucket}/x", job, 0, b"0" * 10).status == 200
        assert [len(caller.chunks(job).blobs) for _ in range(3)] == [0, 0, 1]
        assert caller.put_blob(f"/{bucket}/x", job, 10, b"1" * 10).status == 200
        assert pearl.contents(bucket) == {"x": b"0" * 10 + b"1" * 10}


def test_a_chunk_is_allocated(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    said = caller.start_put(bucket, {"x": 21})
    chunk = said.xml.findall("Objects")[1].get("ChunkId")
    allocated = caller.ask("PUT", f"/_rest_/job_chunk/{chunk}", "operation=allocate")
    assert (allocated.xml.tag, allocated.xml.get("ChunkId"), allocated.blobs) == (
        *("Objects", chunk),
        BLOBS[2:],
    )
    assert caller.ask("GET", f"/_rest_/job_chunk/{chunk}").blobs == BLOBS[2:]
    only = caller.chunks(job_of(said), f"&job_chunk={chunk}")
    assert only.blobs == BLOBS[2:]
    caller.put_blob(f"/{bucket}/x", job_of(said), 20, b"1")
    assert caller.ask("PUT", f"/_rest_/job_chunk/{chunk}", "operation=allocate").status == 404
