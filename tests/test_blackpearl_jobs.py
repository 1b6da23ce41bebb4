"""The BlackPearl of tests: bulk jobs, from their start to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import blackpearl_bulk
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


def send(caller: Caller, bucket: str, job: str | None, contents: dict[str, bytes]) -> list[int]:
    """Send what the chunks of a job offer, until it is over; return the statuses."""
    statuses = []
    while (said := caller.chunks(job)).status == 200:
        for name, offset, length in said.blobs:
            body = contents[name or ""][offset : offset + length]
            statuses.append(caller.put_blob(f"/{bucket}/{name}", job, offset, body).status)
    return statuses


# PUT


def test_objects_are_put_blob_by_blob(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    said = caller.start_put(bucket, {"x": 21, "dir/": 0}, "&name=n%201&priority=low")
    job = job_of(said)
    told = {name: said.xml.get(name) for name in ("Name", "Priority", "RequestType", "Status")}
    assert list(told.values()) == ["n 1", "LOW", "PUT", "IN_PROGRESS"]
    assert said.blobs == [*BLOBS, ("dir/", 0, 0)]
    assert [len(each) for each in said.xml.iterfind("Objects")] == [2, 2]
    # As the vendor has it: a chunk has a node once it may be sent.
    assert ["NodeId" in each.attrib for each in said.xml.iterfind("Objects")] == [True, False]
    said = caller.chunks(job)
    assert (said.blobs, said.headers["retry-after"]) == ([*BLOBS, ("dir/", 0, 0)], "7")
    for offset in (20, 0):
        assert caller.put_blob(f"/{bucket}/x", job, offset, CONTENT[offset:][:10]).status == 200
    assert pearl.contents(bucket) == {}
    said = caller.chunks(job)
    assert [each.get("InCache") for each in said.xml.iter("Object")] == ["true", "false"] * 2
    assert caller.put_blob(f"/{bucket}/x", job, 10, CONTENT[10:20]).status == 200
    assert pearl.contents(bucket) == {"x": CONTENT}
    assert caller.chunks(job).blobs == [("x", 20, 1), ("dir/", 0, 0)]  # the other chunk is done
    assert caller.put_blob(f"/{bucket}/dir/", job, 0, b"").status == 200
    assert pearl.contents(bucket) == {"dir/": b"", "x": CONTENT}
    over = caller.ask("GET", f"/_rest_/job/{job}")
    assert (over.xml.get("Status"), list(over.xml)) == ("COMPLETED", [])
    assert caller.chunks(job).status == 410
    assert caller.put_blob(f"/{bucket}/x", job, 0, CONTENT[:10]).status == 410


def test_metadata_comes_with_any_blob(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    job = job_of(caller.start_put(bucket, {"x": 11}))
    caller.put_blob(f"/{bucket}/x", job, 10, b"1", x_amz_meta_a="1")
    caller.put_blob(f"/{bucket}/x", job, 0, b"0" * 10, x_amz_meta_b="2")
    assert pearl.metadata(bucket, "x") == {"a": "1", "b": "2"}


def test_a_blob_that_is_not_of_the_job_is_refused(pearl: Blackpearl, caller: Caller) -> None:
    bucket, other = pearl.new_bucket(), pearl.new_bucket()
    job = job_of(caller.start_put(bucket, {"x": 21}))
    put = caller.put_blob
    assert put(f"/{bucket}/x", job, 5, b"0" * 10).code == "ObjectNotFound"
    assert put(f"/{bucket}/y", job, 0, b"0" * 10).status == 404
    assert put(f"/{other}/x", job, 0, b"0" * 10).status == 400
    assert put(f"/{bucket}/x", "no-job", 0, b"0" * 10).status == 404
    assert put(f"/{bucket}/x", job, 0, b"0" * 9).status == 400
    assert caller.ask("PUT", f"/{bucket}/x", f"job={job}", b"0" * 10).status == 400
    assert caller.get_blob(f"/{bucket}/x", job, 0).status == 400
    assert put(f"/{bucket}/x", job, 0, b"0" * 10).status == 200
    assert put(f"/{bucket}/x", job, 0, b"0" * 10).code == "OBJECT_ALREADY_EXISTS"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "requires a list of objects"),
        (b"<Objects/>", "requires a list of objects"),
        (b"<Objects", "no XML"),
        (b'<Objects><Object Name="a" Size="1"/><Object Name="a" Size="2"/></Objects>', "duplicate"),
        (b'<Objects><Object Name="a" Size="-1"/></Objects>', "Not a size"),
        (b'<Objects><Object Name="a"/></Objects>', "Not a size"),
        (b'<Objects><Object Size="1"/></Objects>', "without a name"),
    ],
)
def test_a_list_that_no_job_can_have(
    pearl: Blackpearl, caller: Caller, body: bytes, message: str
) -> None:
    bucket = pearl.new_bucket()
    said = caller.ask("PUT", f"/_rest_/bucket/{bucket}", "operation=start_bulk_put", body)
    assert (said.status, pearl.jobs) == (400, [])
    assert message in (said.xml.findtext("Message") or "")


def test_a_job_has_so_many_objects_and_no_more(
    monkeypatch: pytest.MonkeyPatch, pearl: Blackpearl, caller: Caller
) -> None:
    assert blackpearl_bulk.MOST_OBJECTS == 500_000
    monkeypatch.setattr(blackpearl_bulk, "MOST_OBJECTS", 3)
    bucket = pearl.new_bucket()
    statuses = [caller.start_put(bucket, dict.fromkeys(keys, 1)).status for keys in ("abcd", "abc")]
    assert statuses == [400, 200]


def test_parameters_that_no_job_can_have(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    for more in ("&priority=SOON", "&aggregating=perhaps", "&max_upload_size=1000", "&colour=red"):
        assert caller.start_put(bucket, {"x": 1}, more).status == 400
    assert caller.start_put("nowhere", {"x": 1}).code == "NoSuchBucket"


def test_the_size_of_blobs_can_be_asked_for() -> None:
    with Blackpearl() as pearl, Caller(pearl.port) as caller:
        bucket, size = pearl.new_bucket(), 10 << 20
        said = caller.start_put(bucket, {"x": size + 1}, f"&max_upload_size={size}")
        assert said.blobs == [("x", 0, size), ("x", size, 1)]


def test_what_is_there_in_the_same_size_can_be_left_out(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket(versioning="NONE")
    pearl.put(bucket, "a", b"12")
    pearl.put(bucket, "b", b"12")
    sizes = {"a": 2, "b": 2, "c": 2}
    said = caller.start_put(bucket, sizes, "&ignore_naming_conflicts")
    assert said.blobs == [("c", 0, 2)]
    assert caller.start_put(bucket, {"a": 3}, "&ignore_naming_conflicts").status == 409
    assert (
        caller.start_put(bucket, {"a": 2}, "&ignore_naming_conflicts").xml.get("Status")
        == "COMPLETED"
    )


def test_an_object_is_in_one_put_job_at_a_time(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    job = job_of(caller.start_put(bucket, {"x": 2}))
    assert caller.start_put(bucket, {"x": 2}).code == "OBJECT_ALREADY_EXISTS"
    assert caller.ask("PUT", f"/{bucket}/x", body=b"12").status == 409
    assert caller.ask("DELETE", f"/_rest_/job/{job}", "force").status == 204
    assert caller.start_put(bucket, {"x": 2}).status == 200


def test_a_blob_without_its_job_finds_it_where_that_was_asked_for(
    pearl: Blackpearl, caller: Caller
) -> None:
    bucket = pearl.new_bucket()
    caller.start_put(bucket, {"x": 2}, "&implicit_job_id_resolution=true")
    assert caller.ask("PUT", f"/{bucket}/x", body=b"12").status == 200
    assert ([job.status for job in pearl.jobs], pearl.contents(bucket)) == (
        ["COMPLETED"],
        {"x": b"12"},
    )


def test_empty_objects_may_be_there_at_once() -> None:
    with Blackpearl(empty_at_once=True) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        said = caller.start_put(bucket, {"a": 0, "dir/": 0})
        assert said.xml.get("Status") == "COMPLETED"
        assert caller.chunks(said.xml.get("JobId")).status == 410
        said = caller.start_put(bucket, {"b": 0, "c": 1})
        assert [each.get("InCache") for each in said.xml.iter("Object")] == ["true", "false"]
        assert send(caller, bucket, job_of(caller.start_put(bucket, {"d": 1})), {"d": b"1"}) == [
            200
        ]
        assert list(pearl.contents(bucket)) == ["a", "b", "d", "dir/"]


# GET


def test_objects_are_read_blob_by_blob(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "x", CONTENT, {"m": "1"})
    pearl.put(bucket, "z", b"")
    said = caller.start_get(bucket, ["x", "z"])
    job = job_of(said)
    assert (said.blobs, said.xml.get("RequestType")) == ([*BLOBS, ("z", 0, 0)], "GET")
    got = caller.get_blob(f"/{bucket}/x", job, 10)
    assert (got.status, got.body, got.headers["x-amz-meta-m"]) == (200, CONTENT[10:20], "1")
    assert "content-md5" in got.headers
    assert caller.get_blob(f"/{bucket}/x", job, 0).body == CONTENT[:10]
    assert caller.chunks(job).blobs == [("x", 20, 1), ("z", 0, 0)]
    assert caller.get_blob(f"/{bucket}/z", job, 0).body == b""
    assert caller.get_blob(f"/{bucket}/x", job, 20).body == CONTENT[20:]
    assert caller.ask("GET", f"/_rest_/job/{job}").xml.get("Status") == "COMPLETED"
    assert caller.get_blob(f"/{bucket}/x", job, 0).status == 404


def test_a_part_is_read_from_the_blobs_that_cover_it(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "x", CONTENT)
    body = b'<Objects><Object Name="x" Offset="12" Length="3"/></Objects>'
    said = caller.ask("PUT", f"/_rest_/bucket/{bucket}", "operation=start_bulk_get", body)
    assert said.blobs == [("x", 10, 10)]
    job = job_of(said)
    assert caller.get_blob(f"/{bucket}/x", job, 10, Range="bytes=2-3").status == 400
    got = caller.get_blob(f"/{bucket}/x", job, 10, Range="bytes=12-14")
    assert (got.status, got.body, got.headers["content-range"]) == (
        206,
        b"cde",
        "bytes 12-14/21",
    )
    assert pearl.jobs[-1].status == "COMPLETED"
    for beyond in (b'Offset="20" Length="2"', b'Offset="22"', b'Length="0"', b'Length="a"'):
        body = b'<Objects><Object Name="x" %b/></Objects>' % beyond
        assert (
            caller.ask("PUT", f"/_rest_/bucket/{bucket}", "operation=start_bulk_get", body).status
            == 400
        )


def test_versions_are_read_by_their_id(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket(versioning="KEEP_MULTIPLE_VERSIONS")
    for content in (b"1", b"22"):
        pearl.put(bucket, "x", content)
    new, old = caller.ask("GET", f"/{bucket}", "versions").texts("Version/VersionId")
    rows = "".join(f'<Object Name="x" VersionId="{each}"/>' for each in (old, new))
    body = f"<Objects>{rows}</Objects>".encode()
    said = caller.ask("PUT", f"/_rest_/bucket/{bucket}", "operation=start_bulk_get", body)
    job = job_of(said)
    assert [each.get("VersionId") for each in said.xml.iter("Object")] == [old, new]
    for version, content in ((new, b"22"), (old, b"1")):
        query = f"job={job}&offset=0&version_id={version}"
        assert caller.ask("GET", f"/{bucket}/x", query).body == content
    assert pearl.jobs[-1].status == "COMPLETED"


def test_what_is_not_there_or_named_twice_is_not_read(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "x", b"1")
    assert caller.start_get(bucket, ["x", "y"]).code == "ObjectNotFound"
    assert caller.start_get(bucket, ["x", "x"]).status == 400
    assert caller.start_get("nowhere", ["x"]).code == "NoSuchBucket"
    assert pearl.jobs == []


def test_a_blob_that_is_not_wanted_is_completed(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "x", b"1")
    said = caller.start_get(bucket, ["x"])
    blob = next(said.xml.iter("Object")).get("Id")
    assert caller.ask("POST", f"/{bucket}/x", f"blob=none&job={job_of(said)}").status == 404
    assert caller.ask("POST", f"/{bucket}/x", f"blob={blob}&job={job_of(said)}").status == 200
    assert pearl.jobs[-1].status == "COMPLETED"


# Jobs


def test_jobs_are_listed_changed_and_canceled(pearl: Blackpearl, caller: Caller) -> None:
    bucket, other = pearl.new_bucket(), pearl.new_bucket()
    pearl.put(other, "y", b"1")
    put, get = job_of(caller.start_put(bucket, {"x": 21})), job_of(caller.start_get(other, ["y"]))
    jobs = caller.ask("GET", "/_rest_/job").xml
    assert [each.get("JobId") for each in jobs] == [put, get]
    jobs = caller.ask("GET", "/_rest_/job", f"bucket_id={other}&full_details").xml
    assert [each.get("RequestType") for each in jobs] == ["GET"]
    changed = caller.ask("PUT", f"/_rest_/job/{put}", "name=new&priority=urgent")
    assert [changed.xml.get(each) for each in ("Name", "Priority")] == ["new", "URGENT"]
    assert changed.blobs == BLOBS
    assert caller.ask("GET", f"/_rest_/active_job/{put}").texts("Name") == ["new"]
    assert caller.ask("DELETE", f"/_rest_/job/{put}", "force").status == 204
    assert caller.ask("DELETE", f"/_rest_/job/{put}", "force").status == 404
    assert caller.ask("GET", f"/_rest_/job/{put}").xml.get("Status") == "CANCELED"
    assert caller.ask("GET", "/_rest_/canceled_job").texts("CanceledJob/Id") == [put]
    assert caller.ask("GET", f"/_rest_/completed_job/{put}").status == 404
    assert caller.ask("PUT", f"/_rest_/job/{put}").status == 410
    assert caller.chunks(put).status == 410
    assert caller.ask("DELETE", "/_rest_/job", "force").status == 204
    assert caller.ask("GET", "/_rest_/active_job").texts("ActiveJob") == []


def test_a_canceled_job_leaves_what_is_on_tape(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    job = job_of(caller.start_put(bucket, {"a": 1, "b": 1, "c": 1, "x": 21}))
    for key in ("a", "b"):
        caller.put_blob(f"/{bucket}/{key}", job, 0, b"1")
    caller.chunks(job)  # by which their chunk has been written
    caller.put_blob(f"/{bucket}/c", job, 0, b"1")
    assert list(pearl.contents(bucket)) == ["a", "b", "c"]
    caller.ask("DELETE", f"/_rest_/job/{job}", "force")
    assert list(pearl.contents(bucket)) == ["a", "b"]
    assert caller.ask("PUT", f"/{bucket}/x", body=b"1").status == 200


def test_an_object_that_is_still_coming_is_listed_without_a_date(
    pearl: Blackpearl, caller: Caller
) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "there", b"1")
    job = job_of(caller.start_put(bucket, {"there": 11, "x": 21}))
    assert caller.put_blob(f"/{bucket}/there", job, 10, b"2").status == 200
    assert pearl.contents(bucket) == {"there": b"1"}
    said = caller.ask("GET", f"/{bucket}")
    assert (said.texts("Contents/Key"), said.texts("Contents/Size")) == (
        ["there", "x"],
        ["1", "21"],
    )
    assert [bool(each) for each in said.texts("Contents/LastModified")] == [True, False]
    assert caller.ask("HEAD", f"/{bucket}/x").status == 404
    caller.ask("DELETE", f"/_rest_/job/{job}", "force")
    assert caller.ask("GET", f"/{bucket}").texts("Contents/Key") == ["there"]


def test_a_truncated_job_is_completed_with_what_there_is(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    job = job_of(caller.start_put(bucket, {"a": 1, "x": 21}))
    caller.put_blob(f"/{bucket}/a", job, 0, b"1")
    assert caller.ask("DELETE", f"/_rest_/job/{job}").status == 204
    assert caller.ask("GET", f"/_rest_/job/{job}").xml.get("Status") == "COMPLETED"
    assert pearl.contents(bucket) == {"a": b"1"}


def test_small_jobs_are_one_while_it_aggregates(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    said = [caller.start_put(bucket, {key: 1}, "&aggregating=true") for key in ("a", "b")]
    job = job_of(said[0])
    assert [job_of(each) for each in said] == [job] * 2
    assert said[1].xml.get("Aggregating") == "true"
    assert said[1].blobs == [("a", 0, 1), ("b", 0, 1)]
    chunk = next(said[1].xml.iterfind("Objects")).get("ChunkId")
    assert caller.ask("PUT", f"/_rest_/job_chunk/{chunk}", "operation=allocate").status == 404
    for key in ("a", "b"):
        caller.put_blob(f"/{bucket}/{key}", job, 0, b"1")
    assert pearl.jobs[0].status == "IN_PROGRESS"
    assert caller.ask("PUT", f"/_rest_/job/{job}", "close_aggregating_job").status == 200
    assert pearl.jobs[0].status == "COMPLETED"
    later = caller.start_put(bucket, {"c": 1}, "&aggregating=true")
    assert job_of(later) != job


def test_objects_and_their_tapes_are_told(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    for key in ("a1", "a2", "dir/"):
        pearl.put(bucket, key, b"")
    said = caller.ask("GET", "/_rest_/object", f"bucket_id={bucket}&name=a%25&page_length=1")
    assert said.texts("S3Object/Name") == ["a1"]
    assert [said.headers[each] for each in ("page-truncated", "total-result-count")] == ["1", "2"]
    said = caller.ask("GET", "/_rest_/object", f"bucket_id={bucket}&type=FOLDER")
    assert said.texts("S3Object/Name") == ["dir/"]
    assert caller.ask("GET", "/_rest_/object/a1", f"bucket_id={bucket}").texts("Type") == ["DATA"]
    body = b'<Objects><Object Name="a1"/></Objects>'
    query = "operation=get_physical_placement"
    placed = caller.ask("PUT", f"/_rest_/bucket/{bucket}", query, body)
    assert placed.texts("Tapes/Tape/State") == ["NORMAL"]
    full = caller.ask(
        "GET", f"/_rest_/bucket/{bucket}", "operation=verify_physical_placement&full_details", body
    )
    assert full.texts("Object/PhysicalPlacement/Tapes/Tape/State") == ["NORMAL"]
