"""Large files in parts: whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from faultproxy import Answer, Before, DropAnswer, DropRequest, Rule, Stall, StallAnswer
from ingest.errors import BucketNotFound, CredentialsRefused, StoreError
from ingest.storage import attempts
from ingest.storage.api import Answer as Answered
from ingest.storage.etags import etag_of
from ingest.storage.multipart import upload_file
from ingest.storage.parts import PartLimits
from ingest.storage.uploads import Target
from support import REPOSITORY
from uploading import KEY, MIB, PART, SIZE, SMALL, answering, arriving, part, uploads_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import ReadableBuffer

    from support import S3Server
    from uploading import There


@pytest.fixture
def there(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with uploads_to(server, monkeypatch) as there:
        yield there


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


def with_header(name: str, value: str) -> Callable[[Answered], Answered]:
    def told(answer: Answered) -> Answered:
        del answer.headers[name]
        answer.headers[name] = value
        return answer

    return told


def md5_of(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


class TestWhole:
    @pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, SIZE])
    def test_arrives_byte_for_byte_with_its_headers(
        self, there: There, tmp_path: Path, size: int
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(os.urandom(size))
        progress: list[int] = []
        headers = {"content-type": "text/x-test", "x-amz-meta-sha256": "ab"}
        done = there.upload(file, headers=headers, progress=progress.append)
        assert there.content == file.read_bytes()
        assert there.headers == ("text/x-test", {"sha256": "ab"})
        parts = -(-size // PART)
        assert (done.size, done.part_size) == (size, PART)
        assert (done.parts_sent, done.parts_resumed) == (parts, 0)
        assert done.etag == etag_of(file, PART)
        assert (sum(progress), len(progress)) == (size, parts)
        assert there.left == []

    def test_memory_does_not_grow_with_the_part_size(
        self, rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        with file.open("wb") as sparse:
            sparse.truncate(48 * MIB)
        with uploads_to(rclone_server, monkeypatch) as there:
            there.upload(file)
            tracemalloc.start()
            there.upload(file, limits=PartLimits(preferred=24 * MIB), workers=2)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 6 * MIB

    def test_a_key_of_kms_means_no_etag_to_compare(
        self, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, file: Path
    ) -> None:
        with uploads_to(moto_server, monkeypatch) as there:
            there.upload(file, headers={"x-amz-server-side-encryption": "aws:kms"})
            assert there.content == file.read_bytes()
            assert sorted(there.told) == [(n, md5_of(part(file, n))) for n in range(1, 5)]

    def test_another_etag_than_that_of_what_was_sent_is_an_error(
        self, there: There, file: Path
    ) -> None:
        wrong = f"{'0' * 32}-4"
        lies = answering(
            *("POST", "uploadId"),
            lambda answer: Answered(answer.headers, f"<a><ETag>{wrong}</ETag></a>".encode()),
        )
        with pytest.raises(StoreError, match=f"the store's ETag is {wrong}"):
            there.upload(file, there.api(lies))
        there.upload(file, there.api(lies), compare_etag=False)

    def test_an_object_of_another_size_is_an_error(self, there: There, file: Path) -> None:
        lies = answering("HEAD", "", with_header("content-length", "7"))
        with pytest.raises(StoreError, match=f"the object has 7 bytes, {SIZE} were sent"):
            there.upload(file, there.api(lies), compare_etag=False)


class TestEachPart:
    def test_is_read_once_and_known_by_its_etag(self, there: There, file: Path) -> None:
        there.upload(file)
        assert sorted(there.told) == [(number, None) for number in range(1, 5)]

    def test_that_arrives_otherwise_is_sent_again(self, there: There, file: Path) -> None:
        flipped: list[int] = []

        def flip(number: int, content: Iterator[memoryview]) -> Iterator[ReadableBuffer]:
            for block in content:
                if number == 2 and not flipped:
                    flipped.append(number)
                    yield bytes([block[0] ^ 1]) + block[1:]
                else:
                    yield block

        done = there.upload(file, there.api(arriving(flip)), workers=1)
        assert there.content == file.read_bytes()
        assert done.etag == etag_of(file, PART)
        assert (2, md5_of(part(file, 2))) in there.told

    def test_that_always_arrives_otherwise_is_an_error(
        self, rclone_server: S3Server, monkeypatch: pytest.MonkeyPatch, file: Path
    ) -> None:
        zeros = arriving(lambda _, content: (bytes(len(block)) for block in content))
        with uploads_to(rclone_server, monkeypatch) as there:
            with pytest.raises(StoreError, match="BadDigest"):
                there.upload(file, there.api(zeros), workers=1)
            assert not there.exists

    @pytest.mark.parametrize("known", [True, False])
    def test_goes_with_its_md5_where_etags_are_none(
        self, there: There, file: Path, *, known: bool
    ) -> None:
        opaque = answering("PUT", "partNumber", with_header("etag", '"opaque"'))
        with pytest.raises(StoreError):  # the servers know their own ETags, and no others
            there.upload(file, there.api(opaque), workers=1, compare_etag=not known)
        told = [(number, md5_of(part(file, number))) for number in range(1, 5)]
        assert there.told == told if known else [(1, None), *told]

    def test_goes_with_its_md5_where_a_bucket_that_locks_objects_wants_it(
        self, there: There, file: Path
    ) -> None:
        wanted = Answer(400, "InvalidRequest", "Content-MD5 OR x-amz-checksum- is required")
        there.proxy.rules.append(Rule(wanted, "PUT", query="partNumber="))
        there.upload(file, workers=1)
        told = [(number, md5_of(part(file, number))) for number in range(1, 5)]
        assert there.told == [(1, None), *told]
        assert there.content == file.read_bytes()


class TestFaults:
    @pytest.mark.parametrize(
        "action",
        [
            Answer(503),
            Answer(500, "InternalError"),
            Answer(400, "RequestTimeout"),
            DropRequest(after=0),
            DropRequest(after=PART // 2),
            DropAnswer(),
        ],
        ids=repr,
    )
    def test_a_part_is_tried_again(self, there: There, file: Path, action: Any) -> None:
        there.proxy.rules.append(Rule(action, "PUT", query="partNumber=", skip=1, times=3))
        done = there.upload(file, workers=2)
        assert done.parts_sent == 4
        assert len(there.sent) == 7
        assert there.content == file.read_bytes()
        assert there.left == []

    def test_the_store_is_left_alone_as_long_as_it_asks(
        self, there: There, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(attempts.Stop, "pause", lambda _, seconds: pauses.append(seconds))
        busy = Answer(503, headers=(("Retry-After", "7"),))
        there.proxy.rules.append(Rule(busy, "PUT", query="partNumber=2"))
        there.upload(file)
        (paused,) = pauses
        assert 5.0 < paused <= 7.0  # less what went by since it said so

    @pytest.mark.parametrize("kind", [Stall, StallAnswer])
    def test_a_part_that_stalls_is_tried_again(self, there: There, file: Path, kind: Any) -> None:
        there.proxy.rules.append(Rule(kind(threading.Event()), "PUT", query="partNumber=2"))
        there.upload(file, there.api(answer_s=0.5))
        assert there.sent.count(2) >= 2
        assert there.content == file.read_bytes()

    @pytest.mark.parametrize("keep", [True, False])
    def test_a_failure_keeps_or_aborts_and_says_which(
        self, there: There, file: Path, *, keep: bool
    ) -> None:
        there.proxy.rules.append(Rule(Answer(503), "PUT", query="partNumber=3", times=None))
        with pytest.raises(StoreError) as raised:
            there.upload(file, workers=1, keep_partial=keep)
        at = there.proxy.endpoint_url
        where = f"cannot write s3://{there.bucket}/{KEY} at {at}: SlowDown: Please"
        assert str(raised.value).startswith(where)
        there.proxy.rules.clear()
        if keep:
            assert "are kept: run the same command again to go on" in str(raised.value)
            assert there.upload(file).parts_resumed == 2
        else:
            assert "the unfinished upload was aborted" in str(raised.value)
            assert there.left == []

    def test_a_failure_to_abort_does_not_hide_the_first(self, there: There, file: Path) -> None:
        there.proxy.rules += [
            Rule(Answer(400, "InvalidArgument", "first"), "PUT", query="partNumber"),
            Rule(Answer(403, "AccessDenied", "second"), "DELETE"),
        ]
        with pytest.raises(StoreError, match=r"InvalidArgument: first; .* could not be aborted"):
            there.upload(file, keep_partial=False)

    def test_credentials_that_expire_meanwhile_are_told(self, there: There, file: Path) -> None:
        expired = Answer(400, "ExpiredToken", "The provided token has expired.")
        there.proxy.rules.append(Rule(expired, "PUT", query="partNumber=3"))
        with pytest.raises(CredentialsRefused, match=r"ExpiredToken.*kept.*renew the temporary"):
            there.upload(file, workers=1)
        assert there.upload(file).parts_resumed == 2

    def test_an_upload_that_vanishes_begins_anew_once(self, there: There, file: Path) -> None:
        gone = Answer(404, "NoSuchUpload", "gone")
        there.proxy.rules.append(Rule(gone, "PUT", query="partNumber=3"))
        progress: list[int] = []
        there.upload(file, progress=progress.append)
        assert there.content == file.read_bytes()
        assert sum(progress) == SIZE
        assert there.left == []

        there.proxy.rules.append(Rule(gone, "PUT", query="partNumber=", times=None))
        with pytest.raises(StoreError, match="NoSuchUpload: gone"):
            there.upload(file)
        assert len(there.proxy.seen("POST", query="uploads")) == 4

    def test_a_missing_bucket_is_named(self, there: There, file: Path) -> None:
        api = there.api(bucket="no-such-bucket")
        with pytest.raises(BucketNotFound, match=r"s3://no-such-bucket/dir/a file .*NoSuchBucket"):
            upload_file(Target(api, "no-such-bucket", KEY), file, limits=SMALL)

    @pytest.mark.parametrize("size", [0, SIZE])
    def test_a_size_that_no_parts_can_have_is_refused_before_any_request(
        self, there: There, file: Path, size: int
    ) -> None:
        os.truncate(file, size)
        limits = PartLimits(PART, PART, PART, most_parts=3)
        with pytest.raises(StoreError, match=f"has {size} bytes, .* from 1 to {3 * PART}"):
            there.upload(file, limits=limits)
        assert there.proxy.requests == []

    def test_a_file_that_is_not_there_is_an_error(self, there: There, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot read .*none: No such file"):
            there.upload(tmp_path / "none")


class TestCompletion:
    @pytest.mark.parametrize(
        "fault",
        [
            (DropAnswer(), 1),  # it was done: the object itself shows it
            (DropRequest(after=10), 2),
            (Answer(200, "InternalError", "We encountered an internal error."), 2),
            (Answer(503), 2),
        ],
        ids=repr,
    )
    def test_is_asked_for_again_only_where_it_was_not_done(
        self, there: There, file: Path, fault: tuple[Any, int]
    ) -> None:
        action, requests = fault
        there.proxy.rules.append(Rule(action, "POST", query="uploadId="))
        done = there.upload(file)
        assert done.size == SIZE
        assert len(there.proxy.seen("POST", query="uploadId=")) == requests
        assert there.content == file.read_bytes()
        assert there.left == []

    def test_that_was_late_does_not_take_another_object_for_this_one(
        self, there: There, file: Path
    ) -> None:
        there.client.put_object(Bucket=there.bucket, Key=KEY, Body=b"z" * SIZE)
        there.proxy.rules.append(Rule(DropRequest(after=10), "POST", query="uploadId="))
        there.upload(file)
        assert there.content == file.read_bytes()

    def test_that_is_refused_keeps_the_parts(self, there: There, file: Path) -> None:
        there.proxy.rules.append(Rule(Answer(400, "InvalidPart", "no"), "POST", query="uploadId="))
        with pytest.raises(StoreError, match="InvalidPart: no; the parts sent are kept"):
            there.upload(file)
        assert there.upload(file).parts_resumed == 4


class TestCancelling:
    def test_between_parts_keeps_what_was_sent(self, there: There, file: Path) -> None:
        cancelled = threading.Event()
        with pytest.raises(StoreError, match="cancelled; the parts sent are kept"):
            there.upload(file, workers=1, cancelled=cancelled, progress=lambda _: cancelled.set())
        assert not there.exists
        assert there.upload(file).parts_resumed == 1

    def test_stops_within_a_part_which_is_not_repeated(self, there: There, tmp_path: Path) -> None:
        file, size = tmp_path / "large", 48 * MIB  # far more than sockets hold
        with file.open("wb") as sparse:
            sparse.truncate(size)
        cancelled = threading.Event()
        there.proxy.rules.append(Rule(Before(cancelled.set), "PUT", query="partNumber=1"))
        with pytest.raises(StoreError, match="cancelled; the unfinished upload was aborted"):
            there.upload(file, limits=PartLimits(size), cancelled=cancelled, keep_partial=False)
        (seen,) = there.proxy.seen("PUT", query="partNumber=")
        assert seen.body_size < size
        assert there.left == []

    def test_stops_within_a_pause(
        self, there: There, monkeypatch: pytest.MonkeyPatch, file: Path
    ) -> None:
        monkeypatch.setattr(attempts, "_PAUSES_S", (600.0,))
        cancelled = threading.Event()
        there.proxy.rules += [
            Rule(Answer(503), "POST", query="uploadId=", times=None),
            Rule(Before(cancelled.set), "HEAD"),
        ]
        with pytest.raises(StoreError, match="cancelled"):
            there.upload(file, cancelled=cancelled)

    def test_an_interrupt_goes_through_and_keeps_the_parts(self, there: There, file: Path) -> None:
        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            there.upload(file, workers=1, progress=interrupt)
        assert len(there.left) == 1


def test_boto3_is_not_loaded() -> None:
    program = (
        "import sys, ingest.storage.multipart; assert not {'boto3', 'botocore'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
