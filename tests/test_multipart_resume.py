"""Uploads that were stopped go on where they did, and only with the file that they began with."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from faultproxy import Answer, Before, Rule, Stall
from ingest.errors import StoreError
from ingest.storage.api import Answer as Answered
from ingest.storage.api import Api
from ingest.storage.parts import PartLimits, Source
from support import REPOSITORY
from uploading import KEY, NONE, PART, SIZE, answering, arriving, overwrite, part, uploads_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import ReadableBuffer

    from support import S3Server
    from uploading import There


@pytest.fixture
def there(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with uploads_to(server, monkeypatch) as there:
        yield there


@pytest.fixture
def moto(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    with uploads_to(moto_server, monkeypatch) as there:
        yield there


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


class TestResume:
    def test_after_a_kill_only_what_is_missing_is_sent(self, there: There, file: Path) -> None:
        stall = Stall(threading.Event(), after=PART // 2)
        there.proxy.rules.append(Rule(stall, "PUT", query="partNumber", skip=2))
        program = (
            "import sys; sys.path[:0] = ['tests', '.']\n"
            "from pathlib import Path\n"
            "from ingest.settings import AccessKey\n"
            "from ingest.storage.api import Api\n"
            "from uploading import *\n"
            "_, url, key, secret, file = sys.argv\n"
            "api = Api(url, 'us-east-1', lambda: AccessKey(key, secret))\n"
            "upload_file(Target(api, '', KEY), Path(file), limits=SMALL, workers=1)\n"
        )
        key, url = there.server.access_key, f"{there.proxy.endpoint_url}/{there.bucket}"
        arguments = [url, key.access_key_id, key.secret_access_key, file]
        command = [sys.executable, "-c", program, *arguments]
        with subprocess.Popen(command, cwd=REPOSITORY) as process:
            there.proxy.wait_until(lambda: len(there.sent) == 3)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert not there.exists
        there.proxy.requests.clear()

        progress: list[int] = []
        done = there.upload(file, progress=progress.append)
        assert (done.parts_sent, done.parts_resumed) == (2, 2)
        assert there.sent == [3, 4]
        assert sum(progress) == SIZE
        assert there.content == file.read_bytes()
        assert there.left == []

    def test_goes_on_in_the_part_size_that_the_upload_has(self, there: There, file: Path) -> None:
        there.begin({1: part(file, 1)})
        done = there.upload(file, limits=PartLimits(smallest=PART))
        assert (done.part_size, done.parts_resumed, there.sent) == (PART, 1, [2, 3, 4])
        assert there.content == file.read_bytes()

    def test_a_changed_part_is_sent_anew(self, there: There, file: Path) -> None:
        there.begin({1: part(file, 1), 2: b"x" * PART})
        progress: list[int] = []
        done = there.upload(file, progress=progress.append)
        assert there.content == file.read_bytes()
        assert sum(progress) == SIZE
        assert there.left == []
        if there.server.name == "moto":
            assert there.sent == [2, 3, 4]
        else:  # rclone cannot replace a part by another content: all begins anew
            assert done.parts_resumed == 0

    def test_parts_that_do_not_fit_the_file_are_left_alone(self, there: There, file: Path) -> None:
        other = there.begin({1: b"x" * PART, 2: b"x" * (PART + 1)})
        done = there.upload(file)
        assert done.parts_resumed == 0
        assert there.content == file.read_bytes()
        assert there.left == [other]

    def test_leftovers_of_keys_that_begin_the_same_are_left_alone(
        self, there: There, file: Path
    ) -> None:
        others = {there.begin({1: part(file, 1)}, Key=KEY + tail) for tail in (".old", "2")}
        assert there.upload(file).parts_resumed == 0
        assert set(there.left) == others

    def test_of_several_the_newest_that_fits_is_taken_page_by_page(
        self, there: There, file: Path
    ) -> None:
        class SmallPages(Api):
            def call(self, method: str, key: str = "", query: Any = NONE, **more: Any) -> Answered:
                if method == "GET":
                    query = {**query, "max-uploads" if "uploads" in query else "max-parts": "1"}
                return super().call(method, key, query, **more)

        older = there.begin({1: part(file, 1)})
        there.begin({1: part(file, 1), 2: part(file, 2), 3: part(file, 3)})
        empty = there.begin({})
        assert there.upload(file, there.api(SmallPages)).parts_resumed == 3
        assert set(there.left) == {older, empty}

    def test_a_part_whose_etag_is_no_md5_is_sent_again(self, there: There, file: Path) -> None:
        def opaque(answer: Answered) -> Answered:
            body = re.sub(b"<ETag>.*?</ETag>", b"<ETag>opaque</ETag>", answer.body)
            return Answered(answer.headers, body)

        there.begin({1: part(file, 1)})
        there.upload(file, there.api(answering("GET", "uploadId", opaque)))
        assert there.sent == [1, 2, 3, 4]
        assert there.content == file.read_bytes()

    def test_headers_of_an_earlier_upload_do_not_stay(self, there: There, file: Path) -> None:
        there.begin({1: part(file, 1)}, Metadata={"sha256": "old"})
        progress: list[int] = []
        headers = {"x-amz-meta-sha256": "new"}
        done = there.upload(file, headers=headers, progress=progress.append)
        assert there.headers[1] == {"sha256": "new"}
        assert (done.parts_resumed, sum(progress)) == (0, SIZE)

    @pytest.mark.parametrize(
        ("begun", "asked"),
        [
            ({}, {"mtime": "1", "mode": "100600"}),
            ({"mtime": "1"}, {"mtime": "1", "mode": "100600"}),
            ({}, {"atime": "2023-11-14T22:13:20Z"}),
            ({"mtime": "1", "mode": "100777"}, {}),
            ({"uid": "0"}, {"sha256": "new"}),
            ({}, {"k": "v"}),
        ],
    )
    def test_attributes_that_one_of_the_two_was_not_asked_for_begin_it_anew(
        self, there: There, file: Path, begun: dict[str, str], asked: dict[str, str]
    ) -> None:
        there.begin({1: part(file, 1)}, Metadata=begun)
        progress: list[int] = []
        headers = {f"x-amz-meta-{name}": text for name, text in asked.items()}
        done = there.upload(file, headers=headers, progress=progress.append)
        assert there.headers[1] == asked
        assert (done.parts_resumed, sum(progress)) == (0, SIZE)
        assert (there.content, there.left) == (file.read_bytes(), [])

    def test_metadata_that_nobody_takes_for_a_files_stay(self, there: There, file: Path) -> None:
        there.begin({1: part(file, 1)}, Metadata={"k": "v"})
        assert there.upload(file).parts_resumed == 1

    def test_a_store_that_keeps_none_gets_a_file_twice_but_no_other(
        self, there: There, file: Path
    ) -> None:
        def bare(answer: Answered) -> Answered:
            kept = {k: v for k, v in answer.headers.items() if not k.startswith("x-amz-meta-")}
            return Answered(kept, answer.body)

        api, headers = there.api(answering("HEAD", "", bare)), {"x-amz-meta-mtime": "1"}
        for resumed, sent in ((0, 3 + 4), (1, 3)):
            there.begin({1: part(file, 1)}, Metadata={"mtime": "1"})
            there.proxy.requests.clear()
            assert there.upload(file, api, headers=headers).parts_resumed == resumed
            assert len(there.sent) == sent
            assert there.content == file.read_bytes()

    def test_what_another_has_put_there_meanwhile_says_nothing_of_the_store(
        self, there: There, file: Path
    ) -> None:
        def replaced() -> None:
            there.client.put_object(Bucket=there.bucket, Key=KEY, Body=b"another's")

        api, headers = there.api(), {"x-amz-meta-mtime": "1"}
        there.proxy.rules.append(Rule(Before(replaced), "HEAD", skip=1))
        for _ in range(2):
            there.begin({1: part(file, 1)})
            assert there.upload(file, api, headers=headers).parts_resumed == 0
        assert there.headers[1] == {"mtime": "1"}

    def test_of_another_storage_class_begins_anew(self, moto: There, file: Path) -> None:
        moto.begin({1: part(file, 1)})
        headers = {"x-amz-storage-class": "STANDARD_IA"}
        assert moto.upload(file, headers=headers).parts_resumed == 0

    def test_without_the_right_to_list_it_is_sent_whole(self, there: There, file: Path) -> None:
        there.begin({1: part(file, 1)})
        there.proxy.rules.append(Rule(Answer(403, "AccessDenied"), "GET", query="uploads"))
        assert there.upload(file).parts_sent == 4

    @pytest.mark.parametrize("junk", [b"no XML", b"<a><Upload><Key>dir/a file</Key></Upload></a>"])
    def test_a_list_that_cannot_be_read_is_as_good_as_none(
        self, there: There, file: Path, junk: bytes
    ) -> None:
        told = answering("GET", "uploads", lambda answer: Answered(answer.headers, junk))
        there.begin({1: part(file, 1)})
        assert there.upload(file, there.api(told)).parts_sent == 4

    def test_checksums_of_the_parts_there_are_told_on_completion(
        self, there: There, file: Path
    ) -> None:
        bodies: list[Any] = []

        class Checksums(Api):
            """Moto lists none."""

            def call(self, *request: Any, **more: Any) -> Answered:
                bodies.append(more.get("body"))
                answer = super().call(*request, **more)
                told = b"<ChecksumCRC32>AAAA==</ChecksumCRC32></Part>"
                return Answered(answer.headers, answer.body.replace(b"</Part>", told))

        there.begin({1: part(file, 1)})
        assert there.upload(file, there.api(Checksums)).parts_resumed == 1
        (completion,) = filter(None, bodies)
        first, *rest = completion.decode().split("<Part>")[1:]
        assert "<ChecksumCRC32>AAAA==</ChecksumCRC32>" in first
        assert "Checksum" not in "".join(rest)
        assert there.content == file.read_bytes()

    def test_one_that_takes_parts_only_with_checksums_begins_anew(
        self, there: There, file: Path
    ) -> None:
        there.begin({1: part(file, 1)})
        refusal = Answer(400, "InvalidRequest", "Checksum Type mismatch occurred")
        there.proxy.rules.append(Rule(refusal, "PUT", query="partNumber=2", times=2))
        assert there.upload(file).parts_resumed == 0
        assert there.content == file.read_bytes()
        assert there.left == []


def grow(file: Path) -> None:
    with file.open("ab") as open_file:
        open_file.write(b"more")


def shrink(file: Path) -> None:
    os.truncate(file, PART // 2)


def replace(file: Path) -> None:
    status = file.stat()
    other = file.with_name("other")
    other.write_bytes(b"y" * SIZE)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


CHANGED = r"changed while it was being read; .* was aborted"


@pytest.mark.parametrize("change", [grow, shrink, overwrite, replace, Path.unlink])
class TestChangingFile:
    @pytest.mark.parametrize("after", [1, 4])
    def test_between_parts_or_before_the_end(
        self, there: There, file: Path, change: Callable[[Path], None], after: int
    ) -> None:
        done: list[int] = []

        def progress(size: int) -> None:
            done.append(size)
            if len(done) == after:
                change(file)

        with pytest.raises(StoreError, match=CHANGED):
            there.upload(file, workers=1, progress=progress)
        assert not there.exists
        assert there.left == []

    def test_while_a_part_is_on_its_way(
        self, there: There, file: Path, change: Callable[[Path], None]
    ) -> None:
        there.proxy.rules.append(Rule(Before(lambda: change(file)), "PUT", query="partNumber=2"))
        with pytest.raises(StoreError, match=CHANGED):
            there.upload(file, workers=1)
        assert not there.exists
        assert there.left == []


def test_a_file_that_changed_is_not_taken_for_a_fault_of_the_way(there: There, file: Path) -> None:
    def overwritten(_: int, content: Iterator[memoryview]) -> Iterator[ReadableBuffer]:
        yield from content
        overwrite(file)

    there.proxy.rules.append(Rule(Answer(400, "BadDigest"), "PUT", times=None))
    with pytest.raises(StoreError, match="changed while it was being read"):
        there.upload(file, there.api(arriving(overwritten)), workers=1)
    assert there.sent == [1]


def test_a_file_that_cannot_be_read_on_is_told_and_not_tried_again(
    there: There, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(FileIO):
        def readinto(self, _: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Source, "open", lambda source: Failing(source.path))
    with pytest.raises(StoreError, match=r"cannot read .*file: Input/output error"):
        there.upload(file, workers=1)
    assert len(there.sent) <= 1
