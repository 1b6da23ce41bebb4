"""Large files in parts: whole or not at all, and never from the start again without need."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from faultproxy import (
    Answer,
    Before,
    DropAnswer,
    DropRequest,
    FaultProxy,
    Rule,
    Stall,
    StallAnswer,
)
from ingest.errors import BucketNotFound, StoreError
from ingest.storage import unfinished
from ingest.storage.etags import etag_of
from ingest.storage.multipart import upload_file
from ingest.storage.parts import PartLimits
from ingest.storage.unfinished import abort_uploads, stale_uploads, unfinished_uploads
from support import REPOSITORY, S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
PART = MIB
SMALL = PartLimits(preferred=PART, smallest=PART)
SIZE = 3 * PART + 12_345  # four parts
KEY = "dir/a file"


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.new_bucket()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def client(server: S3Server, proxy: FaultProxy) -> Any:
    return client_of(server, proxy.endpoint_url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "_PAUSES_S", (0.001,) * 4)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let moto take parts below S3's 5 MiB: rclone does."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)


def client_of(server: S3Server, endpoint_url: str, **options: Any) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=server.access_key.access_key_id,
        aws_secret_access_key=server.access_key.secret_access_key,
        region_name="us-east-1",
        config=Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            **{
                "retries": {"total_max_attempts": 1},
                "s3": {"addressing_style": "path"},
                **options,
            },
        ),
    )


def begin(client: Any, bucket: str, contents: dict[int, bytes], **headers: Any) -> str:
    """Begin an upload of KEY, as a run that was then stopped did."""
    where = {"Bucket": bucket, "Key": headers.pop("Key", KEY)}
    upload_id: str = client.create_multipart_upload(**where, **headers)["UploadId"]
    for number, content in contents.items():
        client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=content)
    return upload_id


def part(file: Path, number: int) -> bytes:
    return file.read_bytes()[(number - 1) * PART : number * PART]


def content(client: Any, bucket: str, key: str = KEY) -> bytes:
    return bytes(client.get_object(Bucket=bucket, Key=key)["Body"].read())


def headers_of(client: Any, bucket: str) -> tuple[str, dict[str, str]]:
    """Content type and metadata; rclone's server changes the case of the names."""
    head = client.head_object(Bucket=bucket, Key=KEY)
    return head["ContentType"], {name.lower(): text for name, text in head["Metadata"].items()}


def exists(client: Any, bucket: str) -> bool:
    return "Contents" in client.list_objects_v2(Bucket=bucket, Prefix=KEY)


def left(client: Any, bucket: str) -> list[str]:
    return [each.upload_id for each in unfinished_uploads(client, bucket, "")]


def sent(proxy: FaultProxy) -> list[int]:
    """The numbers of the parts that were sent through the proxy, in their order."""
    return sorted(
        int(pair.removeprefix("partNumber="))
        for each in proxy.seen("PUT", query="partNumber=")
        for pair in each.query.split("&")
        if pair.startswith("partNumber=")
    )


class TestWhole:
    @pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, SIZE])
    def test_arrives_byte_for_byte_with_its_headers(
        self, server: S3Server, bucket: str, tmp_path: Path, size: int
    ) -> None:
        client = server.client()
        file = tmp_path / "file"
        file.write_bytes(os.urandom(size))
        progress: list[int] = []
        headers = {"ContentType": "text/x-test", "Metadata": {"sha256": "ab"}}
        done = upload_file(
            client, bucket, KEY, file, headers=headers, limits=SMALL, progress=progress.append
        )
        assert content(client, bucket) == file.read_bytes()
        assert headers_of(client, bucket) == ("text/x-test", {"sha256": "ab"})
        parts = -(-size // PART)
        assert (done.size, done.part_size) == (size, PART)
        assert (done.parts_sent, done.parts_resumed) == (parts, 0)
        assert done.etag == etag_of(file, PART)
        assert (sum(progress), len(progress)) == (size, parts)
        assert left(client, bucket) == []

    def test_with_boto3s_own_checksums(self, moto_server: S3Server, file: Path) -> None:
        bucket, client = moto_server.new_bucket(), moto_server.client()
        begin(client, bucket, {1: part(file, 1)}, ChecksumAlgorithm="CRC32")
        seen: list[Any] = []
        client.meta.events.register(
            "provide-client-params.s3.CompleteMultipartUpload",
            lambda params, **_: seen.extend(params["MultipartUpload"]["Parts"]),
        )
        done = upload_file(client, bucket, KEY, file, limits=SMALL)
        assert done.parts_resumed == 1
        assert all("ChecksumCRC32" in each for each in seen[1:])
        assert content(client, bucket) == file.read_bytes()

    def test_memory_does_not_grow_with_the_part_size(
        self, rclone_server: S3Server, tmp_path: Path
    ) -> None:
        bucket, client = rclone_server.new_bucket(), rclone_server.client()
        file = tmp_path / "file"
        with file.open("wb") as sparse:
            sparse.truncate(48 * MIB)
        upload_file(client, bucket, "warm", file, limits=SMALL)
        tracemalloc.start()
        upload_file(client, bucket, KEY, file, limits=PartLimits(preferred=24 * MIB), workers=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 6 * MIB

    def test_a_key_of_kms_means_no_etag_to_compare(self, moto_server: S3Server, file: Path) -> None:
        bucket, client = moto_server.new_bucket(), moto_server.client()
        headers = {"ServerSideEncryption": "aws:kms"}
        upload_file(client, bucket, KEY, file, headers=headers, limits=SMALL)
        assert content(client, bucket) == file.read_bytes()

    def test_another_etag_than_that_of_what_was_sent_is_an_error(
        self, server: S3Server, bucket: str, file: Path
    ) -> None:
        client = server.client()
        wrong = f'"{"0" * 32}-4"'
        client.meta.events.register(
            "after-call.s3.CompleteMultipartUpload", lambda parsed, **_: parsed.update(ETag=wrong)
        )
        with pytest.raises(StoreError, match=f"the store's ETag is {wrong[1:-1]}"):
            upload_file(client, bucket, KEY, file, limits=SMALL)
        upload_file(client, bucket, KEY, file, limits=SMALL, compare_etag=False)

    def test_an_object_of_another_size_is_an_error(
        self, server: S3Server, bucket: str, file: Path
    ) -> None:
        client = server.client()
        client.meta.events.register(
            "after-call.s3.HeadObject", lambda parsed, **_: parsed.update(ContentLength=7)
        )
        with pytest.raises(StoreError, match=f"the object has 7 bytes, {SIZE} were sent"):
            upload_file(client, bucket, KEY, file, limits=SMALL, compare_etag=False)

    def test_the_store_is_told_the_md5_of_each_part(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        upload_file(client, bucket, KEY, file, limits=SMALL, workers=1)
        told = [each.headers["content-md5"] for each in proxy.seen("PUT", query="partNumber=")]
        digests = [
            hashlib.md5(part(file, number), usedforsecurity=False).digest()
            for number in range(1, 5)
        ]
        assert told == [base64.b64encode(digest).decode() for digest in digests]


class TestResume:
    def test_after_a_kill_only_what_is_missing_is_sent(
        self, server: S3Server, bucket: str, proxy: FaultProxy, client: Any, file: Path
    ) -> None:
        never = threading.Event()
        proxy.rules.append(Rule(Stall(never, after=PART // 2), "PUT", query="partNumber", skip=2))
        program = (
            "import sys; sys.path[:0] = ['tests', '.']\n"
            "from pathlib import Path\n"
            "from ingest.settings import AccessKey\n"
            "from support import S3Server\n"
            "from test_multipart import *\n"
            "_, name, url, key, secret, bucket, file = sys.argv\n"
            "client = client_of(S3Server(name, url, AccessKey(key, secret)), url)\n"
            "upload_file(client, bucket, KEY, Path(file), limits=SMALL, workers=1)\n"
        )
        key = server.access_key
        arguments = [server.name, proxy.endpoint_url, key.access_key_id, key.secret_access_key]
        command = [sys.executable, "-c", program, *arguments, bucket, file]
        with subprocess.Popen(command, cwd=REPOSITORY) as process:
            proxy.wait_until(lambda: len(sent(proxy)) == 3)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not exists(client, bucket)
        proxy.requests.clear()

        progress: list[int] = []
        done = upload_file(client, bucket, KEY, file, limits=SMALL, progress=progress.append)
        assert (done.parts_sent, done.parts_resumed) == (2, 2)
        assert sent(proxy) == [3, 4]
        assert sum(progress) == SIZE
        assert content(client, bucket) == file.read_bytes()
        assert left(client, bucket) == []

    def test_goes_on_in_the_part_size_that_the_upload_has(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        begin(client, bucket, {1: part(file, 1)})
        proxy.requests.clear()
        limits = PartLimits(smallest=PART)
        done = upload_file(client, bucket, KEY, file, limits=limits)
        assert (done.part_size, done.parts_resumed, sent(proxy)) == (PART, 1, [2, 3, 4])
        assert content(client, bucket) == file.read_bytes()

    def test_a_changed_part_is_sent_anew(
        self, server: S3Server, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        begin(client, bucket, {1: part(file, 1), 2: b"x" * PART})
        proxy.requests.clear()
        progress: list[int] = []
        done = upload_file(client, bucket, KEY, file, limits=SMALL, progress=progress.append)
        assert content(client, bucket) == file.read_bytes()
        assert sum(progress) == SIZE
        assert left(client, bucket) == []
        if server.name == "moto":
            assert sent(proxy) == [2, 3, 4]
        else:  # rclone cannot replace a part by another content: all begins anew
            assert done.parts_resumed == 0

    def test_parts_that_do_not_fit_the_file_are_left_alone(
        self, bucket: str, client: Any, file: Path
    ) -> None:
        other = begin(client, bucket, {1: b"x" * PART, 2: b"x" * (PART + 1)})
        done = upload_file(client, bucket, KEY, file, limits=SMALL)
        assert done.parts_resumed == 0
        assert content(client, bucket) == file.read_bytes()
        assert left(client, bucket) == [other]

    def test_leftovers_of_keys_that_begin_the_same_are_left_alone(
        self, bucket: str, client: Any, file: Path
    ) -> None:
        others = {
            begin(client, bucket, {1: part(file, 1)}, Key=KEY + tail) for tail in (".old", "2")
        }
        done = upload_file(client, bucket, KEY, file, limits=SMALL)
        assert done.parts_resumed == 0
        assert set(left(client, bucket)) == others

    def test_of_several_the_newest_that_fits_is_taken_page_by_page(
        self, bucket: str, client: Any, file: Path
    ) -> None:
        def small_pages(params: dict[str, Any], model: Any, **_: Any) -> None:
            name = "MaxUploads" if model.name == "ListMultipartUploads" else "MaxParts"
            params.setdefault(name, 1)

        older = begin(client, bucket, {1: part(file, 1)})
        begin(client, bucket, {1: part(file, 1), 2: part(file, 2), 3: part(file, 3)})
        empty = begin(client, bucket, {})
        for operation in ("ListMultipartUploads", "ListParts"):
            client.meta.events.register(f"provide-client-params.s3.{operation}", small_pages)
        done = upload_file(client, bucket, KEY, file, limits=SMALL)
        assert done.parts_resumed == 3
        assert set(left(client, bucket)) == {older, empty}

    def test_a_part_whose_etag_is_no_md5_is_sent_again(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        def opaque(parsed: dict[str, Any], **_: Any) -> None:
            for each in parsed.get("Parts", ()):
                each["ETag"] = '"opaque"'

        begin(client, bucket, {1: part(file, 1)})
        client.meta.events.register("after-call.s3.ListParts", opaque)
        proxy.requests.clear()
        upload_file(client, bucket, KEY, file, limits=SMALL)
        assert sent(proxy) == [1, 2, 3, 4]
        assert content(client, bucket) == file.read_bytes()

    def test_headers_of_an_earlier_upload_do_not_stay(
        self, bucket: str, client: Any, file: Path
    ) -> None:
        begin(client, bucket, {1: part(file, 1)}, Metadata={"sha256": "old"})
        progress: list[int] = []
        done = upload_file(
            *(client, bucket, KEY, file),
            headers={"Metadata": {"sha256": "new"}},
            limits=SMALL,
            progress=progress.append,
        )
        assert headers_of(client, bucket)[1] == {"sha256": "new"}
        assert (done.parts_resumed, sum(progress)) == (0, SIZE)

    def test_of_another_storage_class_begins_anew(self, moto_server: S3Server, file: Path) -> None:
        bucket, client = moto_server.new_bucket(), moto_server.client()
        begin(client, bucket, {1: part(file, 1)})
        headers = {"StorageClass": "STANDARD_IA"}
        done = upload_file(client, bucket, KEY, file, headers=headers, limits=SMALL)
        assert done.parts_resumed == 0

    def test_without_the_right_to_list_it_is_sent_whole(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        begin(client, bucket, {1: part(file, 1)})
        proxy.rules.append(Rule(Answer(403, "AccessDenied"), "GET", query="uploads"))
        assert upload_file(client, bucket, KEY, file, limits=SMALL).parts_sent == 4


def grow(file: Path) -> None:
    with file.open("ab") as open_file:
        open_file.write(b"more")


def shrink(file: Path) -> None:
    os.truncate(file, PART // 2)


def overwrite(file: Path) -> None:
    old = file.stat().st_mtime_ns
    file.write_bytes(b"y" * SIZE)
    os.utime(file, ns=(old + 10**9, old + 10**9))


def replace(file: Path) -> None:
    status = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"y" * SIZE)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize("change", [grow, shrink, overwrite, replace, Path.unlink])
class TestChangingFile:
    @pytest.mark.parametrize("after", [1, 4])
    def test_between_parts_or_before_the_end(
        self, bucket: str, client: Any, file: Path, change: Callable[[Path], None], after: int
    ) -> None:
        done: list[int] = []

        def progress(size: int) -> None:
            done.append(size)
            if len(done) == after:
                change(file)

        with pytest.raises(StoreError, match=r"changed while it was being read; .* was aborted"):
            upload_file(client, bucket, KEY, file, limits=SMALL, workers=1, progress=progress)
        assert not exists(client, bucket)
        assert left(client, bucket) == []

    def test_between_its_hash_and_its_way(
        self,
        proxy: FaultProxy,
        bucket: str,
        client: Any,
        file: Path,
        change: Callable[[Path], None],
    ) -> None:
        proxy.rules.append(Rule(Before(lambda: change(file)), "PUT", query="partNumber=2"))
        with pytest.raises(StoreError, match=r"changed while it was being read; .* was aborted"):
            upload_file(client, bucket, KEY, file, limits=SMALL, workers=1)
        assert not exists(client, bucket)
        assert left(client, bucket) == []


def test_a_file_that_changed_is_not_taken_for_a_fault_of_the_way(
    moto_server: S3Server, file: Path
) -> None:
    bucket = moto_server.new_bucket()
    with FaultProxy(moto_server.endpoint_url) as proxy:
        client = client_of(moto_server, proxy.endpoint_url)
        client.meta.events.register("before-call.s3.UploadPart", lambda **_: overwrite(file))
        proxy.rules.append(Rule(Answer(400, "BadDigest"), "PUT", times=None))
        with pytest.raises(StoreError, match="changed while it was being read"):
            upload_file(client, bucket, KEY, file, limits=SMALL, workers=1)
        assert sent(proxy) == [1]


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
    def test_a_part_is_tried_again(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path, action: Any
    ) -> None:
        proxy.rules.append(Rule(action, "PUT", query="partNumber=", skip=1, times=3))
        done = upload_file(client, bucket, KEY, file, limits=SMALL, workers=2)
        assert done.parts_sent == 4
        assert len(sent(proxy)) == 7
        assert content(client, bucket) == file.read_bytes()
        assert left(client, bucket) == []

    @pytest.mark.parametrize("kind", [Stall, StallAnswer])
    def test_a_part_that_stalls_is_tried_again(
        self, server: S3Server, proxy: FaultProxy, bucket: str, file: Path, kind: Any
    ) -> None:
        client = client_of(server, proxy.endpoint_url, connect_timeout=0.5, read_timeout=0.5)
        never = threading.Event()
        proxy.rules.append(Rule(kind(never), "PUT", query="partNumber=2"))
        upload_file(client, bucket, KEY, file, limits=SMALL)
        assert sent(proxy).count(2) >= 2
        assert content(client, bucket) == file.read_bytes()

    @pytest.mark.parametrize("keep", [True, False])
    def test_a_failure_keeps_or_aborts_and_says_which(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path, *, keep: bool
    ) -> None:
        proxy.rules.append(Rule(Answer(503), "PUT", query="partNumber=3", times=None))
        with pytest.raises(StoreError) as raised:
            upload_file(client, bucket, KEY, file, limits=SMALL, workers=1, keep_partial=keep)
        where = f"cannot write s3://{bucket}/{KEY} at {proxy.endpoint_url}: SlowDown: Please"
        assert str(raised.value).startswith(where)
        proxy.rules.clear()
        if keep:
            assert "are kept: run the same command again to go on" in str(raised.value)
            assert upload_file(client, bucket, KEY, file, limits=SMALL).parts_resumed == 2
        else:
            assert "the unfinished upload was aborted" in str(raised.value)
            assert left(client, bucket) == []

    def test_a_failure_to_abort_does_not_hide_the_first(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        proxy.rules += [
            Rule(Answer(400, "InvalidRequest", "first"), "PUT", query="partNumber"),
            Rule(Answer(403, "AccessDenied", "second"), "DELETE"),
        ]
        with pytest.raises(StoreError, match=r"InvalidRequest: first; .* could not be aborted"):
            upload_file(client, bucket, KEY, file, limits=SMALL, keep_partial=False)

    def test_an_upload_that_vanishes_begins_anew_once(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        gone = Answer(404, "NoSuchUpload", "gone")
        proxy.rules.append(Rule(gone, "PUT", query="partNumber=3"))
        progress: list[int] = []
        upload_file(client, bucket, KEY, file, limits=SMALL, progress=progress.append)
        assert content(client, bucket) == file.read_bytes()
        assert sum(progress) == SIZE
        assert left(client, bucket) == []

        proxy.rules.append(Rule(gone, "PUT", query="partNumber=", times=None))
        with pytest.raises(StoreError, match="NoSuchUpload: gone"):
            upload_file(client, bucket, KEY, file, limits=SMALL)
        assert len(proxy.seen("POST", query="uploads")) == 4

    def test_a_missing_bucket_is_named(self, client: Any, file: Path) -> None:
        with pytest.raises(BucketNotFound, match=r"s3://no-such-bucket/dir/a file .*NoSuchBucket"):
            upload_file(client, "no-such-bucket", KEY, file, limits=SMALL)

    @pytest.mark.parametrize("size", [0, SIZE])
    def test_a_size_that_no_parts_can_have_is_refused_before_any_request(
        self, proxy: FaultProxy, client: Any, file: Path, size: int
    ) -> None:
        os.truncate(file, size)
        limits = PartLimits(PART, PART, PART, most_parts=3)
        with pytest.raises(StoreError, match=f"has {size} bytes, .* from 1 to {3 * PART}"):
            upload_file(client, "any", KEY, file, limits=limits)
        assert proxy.requests == []

    def test_a_file_that_is_not_there_is_an_error(self, client: Any, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match=r"cannot read .*none: No such file"):
            upload_file(client, "any", KEY, tmp_path / "none")


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
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path, fault: tuple[Any, int]
    ) -> None:
        action, requests = fault
        proxy.rules.append(Rule(action, "POST", query="uploadId="))
        done = upload_file(client, bucket, KEY, file, limits=SMALL)
        assert done.size == SIZE
        assert len(proxy.seen("POST", query="uploadId=")) == requests
        assert content(client, bucket) == file.read_bytes()
        assert left(client, bucket) == []

    def test_that_was_late_does_not_take_another_object_for_this_one(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        client.put_object(Bucket=bucket, Key=KEY, Body=b"z" * SIZE)
        proxy.rules.append(Rule(DropRequest(after=10), "POST", query="uploadId="))
        upload_file(client, bucket, KEY, file, limits=SMALL)
        assert content(client, bucket) == file.read_bytes()

    def test_that_is_refused_keeps_the_parts(
        self, proxy: FaultProxy, bucket: str, client: Any, file: Path
    ) -> None:
        proxy.rules.append(Rule(Answer(400, "InvalidPart", "no"), "POST", query="uploadId="))
        with pytest.raises(StoreError, match="InvalidPart: no; the parts sent are kept"):
            upload_file(client, bucket, KEY, file, limits=SMALL)
        assert upload_file(client, bucket, KEY, file, limits=SMALL).parts_resumed == 4


class TestCancelling:
    def test_between_parts_keeps_what_was_sent(self, bucket: str, client: Any, file: Path) -> None:
        cancelled = threading.Event()
        with pytest.raises(StoreError, match="cancelled; the parts sent are kept"):
            upload_file(
                *(client, bucket, KEY, file),
                limits=SMALL,
                workers=1,
                cancelled=cancelled,
                progress=lambda _: cancelled.set(),
            )
        assert not exists(client, bucket)
        assert upload_file(client, bucket, KEY, file, limits=SMALL).parts_resumed == 1

    def test_stops_within_a_part_which_boto3_does_not_repeat(
        self, server: S3Server, proxy: FaultProxy, bucket: str, file: Path
    ) -> None:
        client = client_of(
            *(server, proxy.endpoint_url),
            retries={"total_max_attempts": 3},
            s3={"addressing_style": "path", "payload_signing_enabled": False},
        )
        cancelled = threading.Event()
        proxy.rules.append(Rule(Before(cancelled.set), "PUT", query="partNumber=2"))
        with pytest.raises(StoreError, match="cancelled; the unfinished upload was aborted"):
            upload_file(
                *(client, bucket, KEY, file),
                limits=SMALL,
                workers=1,
                cancelled=cancelled,
                keep_partial=False,
            )
        assert [each.body_size for each in proxy.seen("PUT", query="partNumber=2")] == [0]
        assert left(client, bucket) == []

    def test_stops_within_a_pause(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        proxy: FaultProxy,
        bucket: str,
        client: Any,
        file: Path,
    ) -> None:
        monkeypatch.setattr(unfinished, "_PAUSES_S", (600.0,))
        cancelled = threading.Event()
        proxy.rules += [
            Rule(Answer(503), "POST", query="uploadId=", times=None),
            Rule(Before(cancelled.set), "HEAD"),
        ]
        with pytest.raises(StoreError, match="cancelled"):
            upload_file(client, bucket, KEY, file, limits=SMALL, cancelled=cancelled)

    def test_an_interrupt_goes_through_and_keeps_the_parts(
        self, bucket: str, client: Any, file: Path
    ) -> None:
        def interrupt(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            upload_file(client, bucket, KEY, file, limits=SMALL, workers=1, progress=interrupt)
        assert len(left(client, bucket)) == 1


class TestCleanup:
    def test_lists_by_prefix_and_age_and_aborts(self, server: S3Server, bucket: str) -> None:
        client = server.client()
        begin(client, bucket, {}, Key="data/a")
        begin(client, bucket, {1: b"x"}, Key="data/a")
        begin(client, bucket, {}, Key="data/é +%")
        begin(client, bucket, {}, Key="other")
        found = list(stale_uploads(client, bucket, "data/", -60))
        assert sorted(each.key for each in found) == ["data/a", "data/a", "data/é +%"]
        if server.name == "rclone":  # moto begins every upload in 2010
            assert list(stale_uploads(client, bucket, "", 3600)) == []
        assert [error for _, error in abort_uploads(client, bucket, found)] == [None] * 3
        assert [error for _, error in abort_uploads(client, bucket, found)] == [None] * 3
        assert [each.key for each in stale_uploads(client, bucket, "", -60)] == ["other"]

    def test_one_that_cannot_be_aborted_is_told_and_the_rest_go_on(
        self, proxy: FaultProxy, bucket: str, client: Any
    ) -> None:
        for key in ("a", "b"):
            begin(client, bucket, {}, Key=key)
        proxy.rules.append(Rule(Answer(403, "AccessDenied"), "DELETE", "/a"))
        found = stale_uploads(client, bucket, "", -60)
        errors = {each.key: error for each, error in abort_uploads(client, bucket, found)}
        assert "cannot abort the unfinished upload of s3://" in str(errors["a"])
        assert errors["b"] is None

    def test_a_bucket_that_is_not_there_is_an_error(self, client: Any) -> None:
        with pytest.raises(BucketNotFound, match="cannot list the unfinished uploads of s3://no"):
            list(stale_uploads(client, "no-such-bucket", "", 0))


def test_boto3_is_not_loaded_with_the_module() -> None:
    program = (
        "import sys, ingest.storage.multipart; assert not {'boto3', 'botocore'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
