"""The BlackPearl of tests: what it gets wrong when it is told to, and the vendor's own XML."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.client import HTTPException, IncompleteRead
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

import blackpearl_s3
from blackpearl import ACCESS_KEY, SECRET_KEY, Blackpearl, Corrupt
from blackpearl_caller import Caller, job_of
from blackpearl_faults import parse_rule
from faultproxy import (
    Answer,
    Before,
    DropAnswer,
    DropRequest,
    FaultProxy,
    Rule,
    Stall,
    StallAnswer,
    Truncate,
)
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BODY = bytes(range(256)) * 512


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl() as pearl:
        yield pearl


@pytest.fixture
def caller(pearl: Blackpearl) -> Iterator[Caller]:
    with Caller(pearl.port) as caller:
        yield caller


@pytest.fixture
def bucket(pearl: Blackpearl) -> str:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a", BODY)
    return bucket


# Rules


def test_answers_as_often_as_told_and_only_what_matches(
    pearl: Blackpearl, caller: Caller, bucket: str
) -> None:
    slow = Answer(503, headers=(("Retry-After", "9"),))
    pearl.rules.append(Rule(slow, "PUT", f"/{bucket}/b c", times=2, skip=1))
    said = [caller.ask("PUT", f"/{bucket}/b c", body=b"1") for _ in range(4)]
    assert [each.status for each in said] == [200, 503, 503, 200]
    assert (said[1].code, said[1].headers["retry-after"]) == ("SlowDown", "9")
    assert said[1].xml.findtext("HttpErrorCode") == "503"
    seen = pearl.seen("PUT", "/b c")
    assert [(each.status, each.body_size) for each in seen] == [
        (200, 1),
        (503, 1),
        (503, 1),
        (200, 1),
    ]
    assert [each.failed_by is not None for each in seen] == [False, True, True, False]


def test_answers_what_is_no_xml(pearl: Blackpearl, caller: Caller, bucket: str) -> None:
    pearl.rules.append(Rule(Answer(502, "", "<html>Bad <br> gateway"), "GET"))
    said = caller.ask("GET", f"/{bucket}/a")
    assert (said.status, said.body) == (502, b"<html>Bad <br> gateway")
    assert caller.ask("GET", f"/{bucket}/a").body == BODY


def test_errors_may_have_no_body() -> None:
    with Blackpearl(bare_errors=True) as pearl, Caller(pearl.port) as caller:
        said = caller.ask("GET", "/nowhere")
        assert (said.status, said.body) == (404, b"")


def test_drops_a_request_after_so_many_bytes(
    pearl: Blackpearl, caller: Caller, bucket: str
) -> None:
    pearl.rules.append(Rule(DropRequest(after=1000), "PUT"))
    with pytest.raises((OSError, HTTPException)):
        caller.ask("PUT", f"/{bucket}/b", body=BODY)
    assert pearl.seen("PUT")[0].body_size == 1000
    assert list(pearl.contents(bucket)) == ["a"]
    caller.connection.close()
    assert caller.ask("PUT", f"/{bucket}/b", body=BODY).status == 200


def test_drops_the_answer_to_what_was_done(pearl: Blackpearl, caller: Caller, bucket: str) -> None:
    job = job_of(caller.start_put(bucket, {"b": 1, "c": 1}))
    pearl.rules.append(Rule(DropAnswer(after=5), "PUT", f"/{bucket}/b"))
    with pytest.raises((OSError, HTTPException)):
        caller.put_blob(f"/{bucket}/b", job, 0, b"1")
    caller.connection.close()
    assert pearl.contents(bucket)["b"] == b"1"
    assert caller.put_blob(f"/{bucket}/b", job, 0, b"1").code == "OBJECT_ALREADY_EXISTS"


def test_truncates_visibly_and_invisibly(pearl: Blackpearl, caller: Caller, bucket: str) -> None:
    job = job_of(caller.start_get(bucket, ["a"]))
    pearl.rules += [
        Rule(Truncate(1000), "GET", f"/{bucket}/a"),
        Rule(Truncate(1000, relabel=True), "GET", f"/{bucket}/a"),
    ]
    with pytest.raises(IncompleteRead):
        caller.get_blob(f"/{bucket}/a", job, 0)
    caller.connection.close()
    said = caller.get_blob(f"/{bucket}/a", job, 0)
    assert (said.status, said.body) == (200, BODY[:1000])
    assert pearl.jobs[-1].status == "IN_PROGRESS"  # neither was all of the blob
    assert caller.get_blob(f"/{bucket}/a", job, 0).body == BODY
    assert pearl.jobs[-1].status == "COMPLETED"


def test_corrupts_a_byte(pearl: Blackpearl, caller: Caller, bucket: str) -> None:
    right = caller.ask("GET", f"/{bucket}/a")
    pearl.rules.append(Rule(Corrupt(at=3), "GET"))
    wrong = caller.ask("GET", f"/{bucket}/a")
    assert wrong.body == BODY[:3] + b"\x02" + BODY[4:]
    assert wrong.headers["content-md5"] == right.headers["content-md5"]


@pytest.mark.parametrize("kind", [Stall, StallAnswer])
def test_stalls_until_released(
    pearl: Blackpearl, caller: Caller, bucket: str, kind: type[Stall | StallAnswer]
) -> None:
    release, done = threading.Event(), threading.Event()
    pearl.rules.append(Rule(kind(release, after=10), "PUT"))

    def put() -> None:
        caller.ask("PUT", f"/{bucket}/b", body=BODY)
        done.set()

    thread = threading.Thread(target=put)
    thread.start()
    pearl.wait_until(lambda: bool(pearl.seen("PUT")))
    assert not done.is_set()
    release.set()
    thread.join(30)
    assert done.is_set()
    assert pearl.contents(bucket)["b"] == BODY


def test_ends_while_it_stalls() -> None:
    with Blackpearl() as pearl, Caller(pearl.port) as caller:
        pearl.rules.append(Rule(StallAnswer(threading.Event()), "GET"))
        caller.connection.request("GET", "/")
        pearl.wait_until(lambda: bool(pearl.requests))
        threads = [each for each in threading.enumerate() if "process_request" in each.name]
    for each in threads:
        each.join(30)
    assert [each.is_alive() for each in threads] == [False]


def test_something_happens_between_two_requests(
    pearl: Blackpearl, caller: Caller, bucket: str
) -> None:
    job = job_of(caller.start_put(bucket, {"b": 1}))
    pearl.rules.append(Rule(Before(pearl.cancel), "PUT", f"/{bucket}/b"))
    assert caller.put_blob(f"/{bucket}/b", job, 0, b"1").status == 410
    assert caller.ask("GET", f"/_rest_/job/{job}").xml.get("Status") == "CANCELED"


def test_a_proxy_may_stand_before_it(pearl: Blackpearl, bucket: str) -> None:
    with (
        FaultProxy(pearl.endpoint) as proxy,
        Caller(int(proxy.endpoint_url.rpartition(":")[2])) as caller,
    ):
        assert caller.ask("GET", f"/{bucket}/a").body == BODY
        assert len(proxy.requests) == len(pearl.requests) == 1


# Jobs and answers


@pytest.mark.parametrize("status", [404, 410])
def test_a_lost_job_is_unknown(pearl: Blackpearl, caller: Caller, bucket: str, status: int) -> None:
    job = job_of(caller.start_put(bucket, {"b": 1}))
    pearl.lose(status=status)
    assert caller.chunks(job).status == status
    assert caller.ask("GET", f"/_rest_/job/{job}").status == status
    assert caller.put_blob(f"/{bucket}/b", job, 0, b"1").status == status
    assert caller.start_put(bucket, {"b": 1}).status == 200


def test_a_job_is_lost_after_so_many_requests() -> None:
    with Blackpearl(lose_job_after=1) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        job = job_of(caller.start_put(bucket, {"a": 1, "b": 1}))
        assert caller.put_blob(f"/{bucket}/a", job, 0, b"1").status == 200
        assert caller.put_blob(f"/{bucket}/b", job, 0, b"1").status == 404
        assert caller.ask("GET", f"/_rest_/job/{job}").status == 404


def test_chunks_of_a_job_that_is_over_may_be_unknown() -> None:
    with Blackpearl(gone=404) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        job = job_of(caller.start_put(bucket, {"a": 1}))
        caller.put_blob(f"/{bucket}/a", job, 0, b"1")
        assert caller.chunks(job).status == 404
        assert caller.ask("GET", f"/_rest_/job/{job}").xml.get("Status") == "COMPLETED"


def test_there_are_as_many_jobs_as_there_may_be() -> None:
    with Blackpearl(max_jobs=1, retry_after=5) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        job = job_of(caller.start_put(bucket, {"a": 1}))
        full = caller.start_put(bucket, {"b": 1})
        assert (full.status, full.headers["retry-after"]) == (503, "5")
        caller.ask("DELETE", f"/_rest_/job/{job}", "force")
        assert caller.start_put(bucket, {"b": 1}).status == 200


def test_documents_may_be_sparse() -> None:
    omit = frozenset({"Nodes", "NodeId", "IsLatest", "Id", "Aggregating"})
    with Blackpearl(omit=omit, bom=True) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        pearl.put(bucket, "a", b"")
        listing = caller.ask("GET", f"/{bucket}")
        assert listing.body.startswith(b"\xef\xbb\xbf<ListBucketResult>")
        assert (listing.texts("Contents/Key"), listing.texts("Contents/IsLatest")) == (["a"], [])
        job = caller.start_get(bucket, ["a"])
        assert omit.isdisjoint(name for each in job.xml.iter() for name in (each.tag, *each.attrib))
        assert job_of(job)


def test_a_node_may_have_no_address_yet() -> None:
    with Blackpearl(node="NOT_INITIALIZED_YET") as pearl, Caller(pearl.port) as caller:
        said = caller.start_put(pearl.new_bucket(), {"a": 1})
        assert [each.get("EndPoint") for each in said.xml.iter("Node")] == ["NOT_INITIALIZED_YET"]


def test_a_defect_of_its_own_is_told_at_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(blackpearl_s3, "answer", lambda *_: 1 // 0)
    with (
        pytest.raises(RuntimeError, match="ZeroDivisionError"),
        Blackpearl() as pearl,
        Caller(pearl.port) as caller,
    ):
        assert caller.ask("GET", "/").code == "InternalError"
    assert "ZeroDivisionError" in capsys.readouterr().err


# As a process


@pytest.mark.parametrize("text", ["teapot", "503:colour=red", "503:times=often", "503:times"])
def test_a_rule_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rule(text)


def test_rules_can_be_written() -> None:
    rule = parse_rule("503:method=PUT,path=/b/k,query=job=1,times=2,skip=1,retry_after=7")
    headers = (("Retry-After", "7"),)
    assert rule == Rule(Answer(503, "TestFault", "as told", headers), "PUT", "/b/k", "job=1", 2, 1)
    assert parse_rule("corrupt:after=2") == Rule(Corrupt(2))
    assert parse_rule("drop-answer") == Rule(DropAnswer())


def test_it_runs_as_a_process() -> None:
    command = [
        *(sys.executable, REPOSITORY / "tests" / "blackpearl.py", "--bucket", "my-bucket"),
        *("--blob-size", "10", "--shuffled", "--omit", "Nodes,NodeId", "--checksum-type", "NONE"),
        *("--fault", "507:path=/my-bucket/full,times=1"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            told = dict(process.stdout.readline().strip().split("=", 1) for _ in range(3))
            with Caller(int(told["DS3_ENDPOINT"].rpartition(":")[2])) as caller:
                full = caller.ask("PUT", "/my-bucket/full")
                said = caller.start_put("my-bucket", {"x": 11})
        finally:
            process.terminate()
    assert (told["DS3_ACCESS_KEY"], told["DS3_SECRET_KEY"]) == (ACCESS_KEY, SECRET_KEY)
    assert full.status == 507
    assert (sorted(said.blobs), said.xml.find("Nodes")) == ([("x", 0, 10), ("x", 10, 1)], None)


# The vendor's own XML


def shape(element: ET.Element) -> set[tuple[str, ...]]:
    """Return the paths of all elements and attributes."""
    found = {(element.tag, f"@{name}") for name in element.attrib} | {(element.tag,)}
    return found | {(element.tag, *path) for child in element for path in shape(child)}


@pytest.fixture
def vendor(recorded: Path) -> Path:
    return recorded / "spectra"


def read(path: Path) -> ET.Element:
    return ET.fromstring(path.read_bytes())  # noqa: S314 - a file of the vendor's


def sizes(planned: ET.Element) -> dict[str, int]:
    """Return the objects of a job and their sizes."""
    found: dict[str, int] = {}
    for each in planned.iter("Object"):
        found[each.get("Name", "")] = found.get(each.get("Name", ""), 0) + int(
            each.get("Length", "")
        )
    return found


def blobs(planned: ET.Element) -> set[tuple[str | None, ...]]:
    return {
        tuple(each.get(name) for name in ("Name", "Offset", "Length", "InCache"))
        for each in planned.iter("Object")
    }


def test_a_job_is_planned_as_the_vendor_does(vendor: Path) -> None:
    theirs = read(vendor / "ResultingMasterObjectList.xml")
    first = next(each for each in theirs.iter("Object") if each.get("Offset") == "0")
    options = {"blob_size": int(first.get("Length", "")), "chunk_blobs": 14}
    with Blackpearl(**options) as pearl, Caller(pearl.port) as caller:
        ours = caller.start_put(pearl.new_bucket(), sizes(theirs)).xml
    assert blobs(ours) == blobs(theirs)
    nodes = [
        ["NodeId" in each.attrib for each in job.iterfind("Objects")] for job in (ours, theirs)
    ]
    assert nodes[0] == nodes[1] == [True, False]
    # Ours is one node, of which all speak HTTP.
    assert shape(theirs) - shape(ours) == {("MasterObjectList", "Nodes", "Node", "@HttpsPort")}


def test_chunks_are_offered_as_the_vendor_does(vendor: Path) -> None:
    theirs, none = (
        read(vendor / f"{name}GetAvailableJobChunksResponse.xml") for name in ("", "Empty")
    )
    allocated = read(vendor / "AllocateJobChunkResponse.xml")
    with Blackpearl(chunk_blobs=1, tape_polls=1) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        pearl.put(bucket, "a", b"1")
        job = job_of(caller.start_get(bucket, ["a"]))
        ours = [caller.chunks(job).xml for _ in range(2)]
        chunk = next(ours[1].iterfind("Objects")).get("ChunkId")
        one = caller.ask("PUT", f"/_rest_/job_chunk/{chunk}", "operation=allocate").xml
    https = {("MasterObjectList", "Nodes", "Node", "@HttpsPort")}
    assert shape(none) - shape(ours[0]) == shape(theirs) - shape(ours[1]) == https
    assert ("MasterObjectList", "Objects") not in shape(ours[0]) | shape(none)
    assert shape(allocated) <= shape(one)


def test_a_completed_job_is_told_as_the_vendor_does(vendor: Path) -> None:
    theirs = read(vendor / "CompletedMasterObjectList.xml")
    with Blackpearl() as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        job = job_of(caller.start_put(bucket, {"a": 1}))
        caller.put_blob(f"/{bucket}/a", job, 0, b"1")
        ours = caller.ask("GET", f"/_rest_/job/{job}").xml
    assert shape(ours) == shape(theirs)
    assert ours.get("Status") == theirs.get("Status")
    for each in (ours, theirs):
        assert each.get("CachedSizeInBytes") == each.get("OriginalSizeInBytes")


@pytest.mark.parametrize("full", ["", "FullDetails"])
def test_tapes_are_told_as_the_vendor_does(vendor: Path, full: str) -> None:
    theirs = read(vendor / f"GetPhysicalPlacement{full}Response.xml")
    query = "operation=get_physical_placement" + ("&full_details" if full else "")
    with Blackpearl() as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        pearl.put(bucket, "a", b"1")
        body = b'<Objects><Object Name="a"/></Objects>'
        ours = caller.ask("PUT", f"/_rest_/bucket/{bucket}", query, body).xml
    assert shape(ours) == shape(theirs)
