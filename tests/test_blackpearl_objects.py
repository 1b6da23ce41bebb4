"""The BlackPearl of tests: objects, their versions and checksums."""

from __future__ import annotations

import base64
import hashlib
import socket
import zlib
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from blackpearl import ACCESS_KEY, SECRET_KEY, Blackpearl
from blackpearl_caller import Caller
from blackpearl_checksums import checksum, crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10) as pearl:
        yield pearl


@pytest.fixture
def caller(pearl: Blackpearl) -> Iterator[Caller]:
    with Caller(pearl.port) as caller:
        yield caller


ODD_KEYS = ["a b+c.txt", "a//b", "/a", "a/../b", "dir/", "100%25", "é;?#&='\t\n\r\"<>", "k" * 1024]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_an_object_comes_back_as_it_was_put(pearl: Blackpearl, caller: Caller, key: str) -> None:
    bucket = pearl.new_bucket()
    meta = {"X-Amz-Meta-Profile": "-1", "x-amz-meta-profile-name": "a"}
    put = caller.ask("PUT", f"/{bucket}/{key}", body=b"content", headers=meta)
    md5 = base64.b64encode(hashlib.md5(b"content", usedforsecurity=False).digest()).decode()
    assert (put.status, put.body, put.headers["content-md5"]) == (200, b"", md5)
    got = caller.ask("GET", f"/{bucket}/{key}")
    assert (got.status, got.body, got.headers["content-md5"]) == (200, b"content", md5)
    head = caller.ask("HEAD", f"/{bucket}/{key}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "7")
    assert head.headers["ds3-blob-checksum-type"] == "MD5"
    assert head.headers["ds3-blob-checksum-offset-0"] == md5
    assert head.headers["x-amz-meta-profile-name"] == got.headers["x-amz-meta-profile-name"] == "a"
    assert head.headers.keys() >= {"creation-date", "version-id"}
    assert caller.ask("GET", f"/{bucket}").texts("Contents/Key") == [key]


@pytest.mark.parametrize("key", ["a b+c.txt", "a//b", "dir/", "100%25", "é;?#'()!*", "~x=,@:$&"])
def test_another_signer_of_this_version_is_understood(pearl: Blackpearl, key: str) -> None:
    bucket = pearl.new_bucket()
    client: Any = boto3.client(
        "s3",
        endpoint_url=pearl.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(
            signature_version="s3",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    metadata = {"profile": "-1", "profile-name": "x", "Zed": "a b"}
    client.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata=metadata, ContentType="a/b")
    got = client.get_object(Bucket=bucket, Key=key)
    assert (got["Body"].read(), got["Metadata"]["zed"]) == (b"x", "a b")
    assert client.head_object(Bucket=bucket, Key=key)["ContentLength"] == 1
    client.delete_object(Bucket=bucket, Key=key)
    assert [each.status for each in pearl.requests] == [200, 200, 200, 204]
    client.close()


@pytest.mark.parametrize("key", ["k" * 1025, "é" * 513, "a\x01b", "a\ufffe"])
def test_names_that_no_object_can_have(pearl: Blackpearl, caller: Caller, key: str) -> None:
    assert caller.ask("PUT", f"/{pearl.new_bucket()}/{key}", body=b"").code == "BadRequest"


def test_names_that_ltfs_cannot_have() -> None:
    with Blackpearl(ltfs_names=True) as pearl, Caller(pearl.port) as caller:
        bucket = pearl.new_bucket()
        statuses = [
            caller.ask("PUT", f"/{bucket}/{key}").status for key in ("a:b", "k" * 256, "a/b")
        ]
        assert statuses == [400, 400, 200]


def test_a_range_is_in_positions_of_the_object(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a", b"0123456789")

    def part(wanted: str) -> tuple[int, bytes, str | None]:
        said = caller.ask("GET", f"/{bucket}/a", headers={"Range": wanted})
        return said.status, said.body, said.headers.get("content-range")

    assert part("bytes=2-3") == (206, b"23", "bytes 2-3/10")
    assert (
        part("bytes=8-") == part("bytes=8-99") == part("bytes=-2") == (206, b"89", "bytes 8-9/10")
    )
    assert part("bytes=0-1,5-6") == (206, b"0156", "bytes 0-1,5-6/10")
    assert [part(wanted)[0] for wanted in ("bytes=10-", "bytes=3-2", "lines=1-2")] == [400] * 3


def test_an_object_of_several_blobs_needs_a_job(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    assert caller.ask("PUT", f"/{bucket}/a", body=b"0123456789ab").status == 200
    assert caller.ask("GET", f"/{bucket}/a").status == 400
    head = caller.ask("HEAD", f"/{bucket}/a")
    offsets = [name for name in head.headers if name.startswith("ds3-blob-checksum-offset-")]
    assert (head.headers["content-length"], len(offsets)) == ("12", 2)


def test_bodies_have_a_length_and_all_of_it(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    said = caller.ask("PUT", f"/{bucket}/a", headers={"Content-Length": "many"})
    assert said.status == 400
    caller.connection.putrequest("PUT", f"/{bucket}/a")
    caller.connection.endheaders()
    answer = caller.connection.getresponse()
    assert (answer.status, answer.read()[:28]) == (411, b"<Error><Code>MissingContentL")
    with socket.create_connection(("127.0.0.1", pearl.port)) as connection:
        connection.sendall(f"PUT /{bucket}/a HTTP/1.1\r\nContent-Length: 5\r\n\r\n123".encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert pearl.requests[-1].body_size == 3
    assert pearl.contents(bucket) == {}


def test_what_is_expected_is_continued(pearl: Blackpearl) -> None:
    with socket.create_connection(("127.0.0.1", pearl.port)) as connection:
        head = b"PUT /b/a HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"12345")
        assert connection.recv(100).startswith(b"HTTP/1.1 403 ")


# Versions


def test_without_versions_an_object_cannot_be_replaced(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket(versioning="NONE")
    pearl.put(bucket, "a", b"old")
    said = caller.ask("PUT", f"/{bucket}/a", body=b"new")
    assert (said.status, said.code) == (409, "OBJECT_ALREADY_EXISTS")
    assert caller.start_put(bucket, {"b": 1, "a": 3}).code == "OBJECT_ALREADY_EXISTS"
    assert caller.start_put(bucket, {"b": 1}).status == 200  # and nothing was begun before


def test_the_latest_version_replaces(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket(versioning="KEEP_LATEST")
    pearl.put(bucket, "a", b"old", {"m": "1"})
    assert caller.ask("PUT", f"/{bucket}/a", body=b"new").status == 200
    assert (pearl.contents(bucket), pearl.metadata(bucket, "a")) == ({"a": b"new"}, {})
    assert len(caller.ask("GET", f"/{bucket}", "versions").texts("Version")) == 1


def test_versions_are_kept(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket(versioning="KEEP_MULTIPLE_VERSIONS")
    for content in (b"1", b"22"):
        pearl.put(bucket, "a", content)
    assert caller.ask("GET", f"/{bucket}").texts("Contents/Size") == ["2"]
    # A void parameter counts by being there, whatever it is set to.
    said = caller.ask("GET", f"/{bucket}", "versions=False")
    assert said.texts("Version/IsLatest") == ["true", "false"]
    newest, oldest = said.texts("Version/VersionId")
    assert caller.ask("GET", f"/{bucket}/a", f"version_id={oldest}").body == b"1"
    assert caller.ask("HEAD", f"/{bucket}/a").headers["version-id"] == newest
    assert caller.ask("DELETE", f"/{bucket}/a").status == 204
    assert caller.ask("GET", f"/{bucket}/a").status == 404
    assert caller.ask("GET", f"/{bucket}/a", f"version_id={newest}").body == b"22"
    assert caller.ask("DELETE", f"/{bucket}").status == 409
    assert caller.ask("DELETE", f"/{bucket}/a", f"version_id={oldest}").status == 204
    assert caller.ask("GET", f"/{bucket}").texts("Contents/Key") == []
    assert caller.ask("DELETE", f"/{bucket}/a", f"version_id={newest}").status == 204
    assert caller.ask("DELETE", f"/{bucket}").status == 204


# Checksums

NINE = b"123456789"
CHECK = {
    "CRC_32": (0xCBF43926).to_bytes(4, "big"),
    "CRC_32C": (0xE3069283).to_bytes(4, "big"),
    "MD5": bytes.fromhex("25f9e794323b453885f5181f1b624d0b"),
}


@pytest.mark.parametrize("kind", CHECK)
def test_checksums_are_those_of_their_standards(kind: str) -> None:
    assert checksum(kind, NINE) == base64.b64encode(CHECK[kind]).decode()
    assert crc32c(b"") == 0


HEADERS = {
    "MD5": ("Content-MD5", lambda body: hashlib.md5(body, usedforsecurity=False).digest()),
    "CRC_32": ("Content-CRC32", lambda body: zlib.crc32(body).to_bytes(4, "big")),
    "CRC_32C": ("Content-CRC32C", lambda body: crc32c(body).to_bytes(4, "big")),
    "SHA_256": ("Content-SHA256", lambda body: hashlib.sha256(body).digest()),
    "SHA_512": ("Content-SHA512", lambda body: hashlib.sha512(body).digest()),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_a_checksum_that_the_policy_requires(pearl: Blackpearl, caller: Caller, kind: str) -> None:
    bucket = pearl.new_bucket(kind, checksum_required=True)
    name, digest = HEADERS[kind]

    def put(headers: dict[str, str]) -> tuple[int, str | None]:
        said = caller.ask("PUT", f"/{bucket}/a", body=b"content", headers=headers)
        return said.status, said.code if said.body else None

    right = base64.b64encode(digest(b"content")).decode()
    assert put({}) == (400, "BadRequest")
    assert put({name: base64.b64encode(digest(b"CONTENT")).decode()}) == (400, "BadDigest")
    assert put({name: digest(b"content").hex()}) == (400, "InvalidDigest")
    other, of_other = HEADERS["MD5" if kind != "MD5" else "SHA_256"]
    assert put({other: base64.b64encode(of_other(b"content")).decode()}) == (400, "BadRequest")
    assert pearl.contents(bucket) == {}
    assert put({name: right}) == (200, None)
    assert caller.ask("GET", f"/{bucket}/a").headers[name.lower()] == right
    ranged = caller.ask("GET", f"/{bucket}/a", headers={"Range": "bytes=0-1"})
    assert name.lower() not in ranged.headers
    assert caller.ask("HEAD", f"/{bucket}/a").headers["ds3-blob-checksum-type"] == kind


def test_without_checksums(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket("NONE", checksum_required=True)
    assert caller.ask("PUT", f"/{bucket}/a", body=b"x").status == 200
    assert not [name for name in caller.ask("GET", f"/{bucket}/a").headers if "content-md5" in name]
    md5 = {"Content-MD5": checksum("MD5", b"x") or ""}
    assert caller.ask("PUT", f"/{bucket}/a", body=b"x", headers=md5).status == 400
