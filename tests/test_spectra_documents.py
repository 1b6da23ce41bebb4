"""The protocol's XML: the vendor's own documents, odd ones, and what is written."""

from __future__ import annotations

import pytest

from ingest.storage.spectra import documents
from ingest.storage.spectra.documents import Blob, Refusal, Unreadable
from ingest.storage.spectra.jobs import by_name, sizes_of
from support import RECORDED

GIB = 1 << 30


def recorded(name: str) -> bytes:
    path = RECORDED / "spectra" / f"{name}.xml"
    if not path.is_file():
        pytest.skip(f"there is no {path}")
    return path.read_bytes()


# The vendor's documents


def test_the_vendors_plan_of_a_job_is_read() -> None:
    """The second of its chunks has no node yet."""
    job = documents.job(recorded("ResultingMasterObjectList"))
    assert (job.id, job.bucket) == ("1a85e743-ec8f-4789-afec-97e587a26936", "bucket8192000000")
    assert (job.request_type, job.status, job.priority) == ("PUT", "IN_PROGRESS", "NORMAL")
    assert len(job.blobs) == 20
    assert not any(blob.in_cache for blob in job.blobs)
    assert set(sizes_of(job.blobs).values()) == {8_192_000_000}


def test_the_vendors_blobs_are_brought_into_order() -> None:
    job = documents.job(recorded("ResultingMasterObjectList"))
    name = "client00obj000003-8000000"
    assert [blob.offset for blob in job.blobs if blob.name == name] == [5 * GIB, 0]
    version = "2af042b1-4543-4e88-a4f9-554570fcf50d"
    assert by_name(job.blobs)[name] == [
        Blob(name, 0, 5 * GIB, version_id=version),
        Blob(name, 5 * GIB, 2_823_290_880, version_id=version),
    ]


def test_the_vendors_chunks_that_are_ready_are_read() -> None:
    job = documents.job(recorded("GetAvailableJobChunksResponse"))
    assert job.request_type == "GET"
    assert len(job.blobs) == 20
    assert all(blob.in_cache for blob in job.blobs)


def test_the_vendors_answer_without_a_chunk_has_no_blob() -> None:
    assert documents.job(recorded("EmptyGetAvailableJobChunksResponse")).blobs == ()


def test_the_vendors_completed_job_is_read() -> None:
    """It begins with a byte order mark, and has neither nodes nor chunks."""
    job = documents.job(recorded("CompletedMasterObjectList"))
    assert (job.id, job.status) == ("350225fb-ec92-4456-a09d-5ffb7c7830bb", "COMPLETED")
    assert (job.size, job.cached_size) == (1_095_132_963, 1_095_132_963)
    assert job.started == 1_430_845_770.0


@pytest.mark.parametrize(
    "name", ["GetPhysicalPlacementResponse", "GetPhysicalPlacementFullDetailsResponse"]
)
def test_the_vendors_tapes_are_read(name: str) -> None:
    (tape,) = documents.items(recorded(name), "Tape")
    assert (tape["BarCode"], tape["State"], tape["Type"]) == ("t1", "EJECTED", "LTO5")


# Odd documents


def test_all_but_an_id_and_lengths_may_be_missing() -> None:
    job = documents.job(plan('Name="a" Length="3"'))
    assert job.blobs == (Blob("a", 0, 3),)
    assert (job.bucket, job.status, job.started, job.size) == ("", "", 0.0, 0)


def test_a_namespace_and_capitals_change_nothing() -> None:
    job = documents.job(
        b'<MasterObjectList xmlns="urn:x" JobId="j" Status="In_Progress"><Objects>'
        b'<Object Name="a" Length="3" Offset="1" InCache="TRUE"/></Objects></MasterObjectList>'
    )
    assert job.status == "IN_PROGRESS"
    assert job.blobs == (Blob("a", 1, 3, in_cache=True),)


def plan(attributes: str) -> bytes:
    """A job with one blob of these attributes."""
    blob = f"<Objects><Object {attributes}/></Objects>"
    return f'<MasterObjectList JobId="j">{blob}</MasterObjectList>'.encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>502</html>", "no MasterObjectList, but <html>"),
        (b"not XML at all", "no XML"),
        (b'<MasterObjectList Name="n"/>', "no JobId"),
        (plan('Name="a"'), "no Length"),
        (plan('Name="a" Length="-1"'), "no number"),
    ],
)
def test_what_is_no_plan_of_a_job_is_told(body: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason) as told:
        documents.job(body)
    assert not told.value.cut_short


@pytest.mark.parametrize("end", [0, 1, 20, 60])
def test_a_document_that_ends_too_early_is_told_as_such(end: int) -> None:
    body = b'<MasterObjectList JobId="j"><Objects><Object Name="a" Length="3"/></Objects>'
    with pytest.raises(Unreadable) as told:
        documents.job(body[:end])
    assert told.value.cut_short


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", Refusal()),
        (b"<html><p>Bad Gateway<br></html>", Refusal()),
        (b"<html/>", Refusal()),
        (b"<Error><Code>NoSuchBucket</Code></Error>", Refusal("NoSuchBucket", "")),
        (
            b"<Error><Code>A</Code><HttpErrorCode/><Message>it is&apos;so</Message></Error>",
            Refusal("A", "it is'so"),
        ),
    ],
)
def test_an_error_says_what_it_can(body: bytes, said: Refusal) -> None:
    """S-D17."""
    assert documents.refusal(body) == said


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-11-20T05:16:34.500Z", 1_795_151_794.5),
        ("2026-11-20T05:16:34", 1_795_151_794.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_a_moment_is_in_utc(moment: str, seconds: float) -> None:
    assert documents.seconds(moment) == seconds


# What is written

ODD = "a \t\n\r<b>&amp;\"'é\U0001f600/../c"


def test_names_are_written_so_that_they_are_read_exactly() -> None:
    root = documents.parse(documents.objects([(ODD, {"Size": 3}), ("b", {})]))
    assert [each.attrib for each in root] == [{"Name": ODD, "Size": "3"}, {"Name": "b"}]
    root = documents.parse(documents.delete([ODD, "b"]))
    assert [each.text for each in root.iter("Key")] == [ODD, "b"]


@pytest.mark.parametrize("name", ["\x00", "a\x1fb", "a\udc80", "\ufffe", "\uffff"])
def test_what_xml_cannot_carry_is_known(name: str) -> None:
    assert not documents.fits(name)
    assert documents.fits(ODD)
