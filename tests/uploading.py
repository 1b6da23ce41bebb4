"""What tests of uploads in parts share: a bucket from both sides, a file, and a hand in between."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faultproxy import FaultProxy
from ingest.storage import attempts
from ingest.storage.api import Api, bucket_url
from ingest.storage.multipart import upload_file
from ingest.storage.parts import PartLimits
from ingest.storage.uploads import Target, unfinished_uploads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import pytest
    from _typeshed import ReadableBuffer

    from ingest.storage.api import Answer
    from ingest.storage.multipart import Uploaded
    from support import S3Server

MIB = 1 << 20
PART = MIB
SMALL = PartLimits(preferred=PART, smallest=PART)
SIZE = 3 * PART + 12_345  # four parts
KEY = "dir/a file"
NONE: Mapping[str, str] = {}


def answering(method: str, name: str, told: Callable[[Answer], Answer]) -> type[Api]:
    """Our requests, of which those with ``name`` in the query are answered by ``told``."""

    class Told(Api):
        def call(self, how: str, key: str = "", query: Any = NONE, **more: Any) -> Answer:
            answer = super().call(how, key, query, **more)
            return told(answer) if how == method and name in (*query, "") else answer

        def put(self, *request: Any) -> Answer:
            answer = super().put(*request)
            return told(answer) if method == "PUT" else answer

    return Told


def arriving(change: Callable[[int, Iterator[memoryview]], Iterator[ReadableBuffer]]) -> type[Api]:
    """Our requests, where each part arrives as ``change`` makes it, by its number and content."""

    class Changed(Api):
        def put(self, key: str, query: Mapping[str, str], content: Any, headers: Any) -> Answer:
            return super().put(key, query, change(int(query["partNumber"]), content), headers)

    return Changed


@dataclass(eq=False)
class There:
    """A new bucket of a server behind a proxy; ``client`` is somebody else's, beside the proxy."""

    server: S3Server
    proxy: FaultProxy

    def __post_init__(self) -> None:
        self.bucket = self.server.new_bucket()
        self.client = self.server.client()
        self.apis: list[Api] = []

    def api(self, kind: type[Api] = Api, bucket: str | None = None, **options: Any) -> Api:
        """Return what makes our requests; it is closed with the proxy."""
        url = bucket_url(
            bucket or self.bucket, self.proxy.endpoint_url, "us-east-1", path_style=True
        )
        at = f" at {self.proxy.endpoint_url}"
        api = kind(url, "us-east-1", lambda: self.server.access_key, at=at, **options)
        self.apis.append(api)
        return api

    def upload(self, file: Path, api: Api | None = None, **options: Any) -> Uploaded:
        target = Target(api or self.api(), self.bucket, KEY)
        return upload_file(target, file, **{"limits": SMALL, **options})

    def begin(self, contents: Mapping[int, bytes], **options: Any) -> str:
        """Begin an upload of KEY, as a run that was then stopped did."""
        where = {"Bucket": self.bucket, "Key": options.pop("Key", KEY)}
        upload_id: str = self.client.create_multipart_upload(**where, **options)["UploadId"]
        for number, content in contents.items():
            self.client.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=content)
        return upload_id

    @property
    def content(self) -> bytes:
        return bytes(self.client.get_object(Bucket=self.bucket, Key=KEY)["Body"].read())

    @property
    def headers(self) -> tuple[str, dict[str, str]]:
        """Content type and metadata; rclone's server changes the case of the names."""
        head = self.client.head_object(Bucket=self.bucket, Key=KEY)
        return head["ContentType"], {name.lower(): text for name, text in head["Metadata"].items()}

    @property
    def exists(self) -> bool:
        return "Contents" in self.client.list_objects_v2(Bucket=self.bucket, Prefix=KEY)

    @property
    def left(self) -> list[str]:
        """The uploads that are unfinished."""
        return [each.upload_id for each in unfinished_uploads(self.api(), "")]

    @property
    def sent(self) -> list[int]:
        """The numbers of the parts that were sent through the proxy, sorted."""
        return sorted(number for number, _ in self.told)

    @property
    def told(self) -> list[tuple[int, str | None]]:
        """The numbers of the parts that were sent, each with the MD5 that the store was told."""
        return [
            (int(pair.removeprefix("partNumber=")), each.headers.get("content-md5"))
            for each in self.proxy.seen("PUT", query="partNumber=")
            for pair in each.query.split("&")
            if pair.startswith("partNumber=")
        ]


@contextmanager
def uploads_to(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[There]:
    """Give a new bucket, with retries that follow at once."""
    monkeypatch.setattr(attempts, "_PAUSES_S", (0.001,) * 4)
    # Let moto take parts below S3's 5 MiB: rclone does.
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    with FaultProxy(server.endpoint_url) as proxy:
        there = There(server, proxy)
        yield there
        for api in there.apis:
            api.close()


def part(file: Path, number: int) -> bytes:
    return file.read_bytes()[(number - 1) * PART : number * PART]


def overwrite(file: Path) -> None:
    old = file.stat().st_mtime_ns
    file.write_bytes(b"y" * SIZE)
    os.utime(file, ns=(old + 10**9, old + 10**9))
