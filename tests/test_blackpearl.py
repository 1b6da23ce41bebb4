"""The BlackPearl of tests: signatures and buckets, as the protocol has them."""

from __future__ import annotations

import socket
import ssl
import time
from email.utils import formatdate
from http.client import HTTPSConnection
from typing import TYPE_CHECKING

import pytest

import blackpearl_signature
from blackpearl import SECRET_KEY, Blackpearl
from blackpearl_caller import Caller, sign
from blackpearl_messages import Request
from tinys3 import certify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=10) as pearl:
        yield pearl


@pytest.fixture
def caller(pearl: Blackpearl) -> Iterator[Caller]:
    with Caller(pearl.port) as caller:
        yield caller


# Signatures

AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SHARE = r"\\172.18.7.30\DPIShare\BlackPearl_Landing\Original_video\645106EF7E9C\2016\0609\0608\001"
VECTORS = {
    "get": (
        *(AWS_SECRET, "GET", "/johnsmith/photos/puppy.jpg"),
        {"date": "Tue, 27 Mar 2007 19:36:42 +0000"},
        "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
    ),
    "content type": (
        *(AWS_SECRET, "PUT", "/johnsmith/photos/puppy.jpg"),
        {"content-type": "image/jpeg", "date": "Tue, 27 Mar 2007 21:15:45 +0000"},
        "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
    ),
    "checksum and metadata": (
        *("BYY65vje", "PUT", "/bucket10240012288/client00obj000019-000010000012"),
        {
            "content-md5": "dnkIhVaDL873NHQcAx5AIA==",
            "content-type": "application/xml; charset=ISO-8859-1",
            "date": "Thu, 31 Mar 2016 18:08:30 +0000",
            "x-amz-meta-etag": "7679088556832fcef734741c031e4020",
        },
        "/FDHtkaFgjSVVgBfNfTAwrhdpCc=",
    ),
    "by name, not by line": (
        "Tvjx7nvS",
        "PUT",
        "/imagen/0x060a2b340101010201010f1213092a6e103251014875058057a0645106EF7E9C",
        {
            "content-md5": "WYzyx46nMf4NWQWGdF0vLQ==",
            "date": "Thu, 29 Sep 2016 14:19:08 GMT",
            "x-amz-meta-accession_id": "645106EF7E9C201606090608001",
            "x-amz-meta-attributes": "0",
            "x-amz-meta-creation_date": "0",
            "x-amz-meta-file-number": "0",
            "x-amz-meta-file_type": "text/plain",
            "x-amz-meta-media_type": "12",
            "x-amz-meta-modification_date": "1465445122",
            "x-amz-meta-original_file_name": SHARE + r"\000000\000000.idx",
            "x-amz-meta-profile": "-1",
            "x-amz-meta-profile-name": "Original_video",
            "x-amz-meta-relationship_id": "[BK-IMG-MCC]:[1]:[1463]",
            "x-amz-meta-status": "0",
        },
        "wVPEi7wKED5IilaTrNaDiFjkJUc=",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_signs_as_the_vendor_does(
    vector: tuple[str, str, str, dict[str, str], str],
) -> None:
    secret, method, path, headers, signature = vector
    assert sign(secret, method, path, headers) == signature
    request = Request(method, path, "job=1&offset=0", headers, b"")
    texts = blackpearl_signature.strings_to_sign(request)
    assert [blackpearl_signature.signature(secret, text) for text in texts] == [signature]


def test_a_wrong_signature_key_or_date_is_refused(pearl: Blackpearl) -> None:
    bucket = pearl.new_bucket()
    with Caller(pearl.port, secret="other") as wrong:
        said = wrong.ask("PUT", f"/{bucket}/a", body=b"x")
        assert (said.status, said.code) == (403, "SignatureDoesNotMatch")
    with Caller(pearl.port, access="other") as unknown:
        assert unknown.ask("GET", "/").code == "InvalidAccessKeyId"
    with Caller(pearl.port) as caller:
        assert caller.ask("GET", "/", headers={"Authorization": ""}).code == "AccessDenied"
        sigv4 = {"Authorization": "AWS4-HMAC-SHA256 Credential=a/b, Signature=c"}
        assert caller.ask("GET", "/", headers=sigv4).code == "AccessDenied"
        assert caller.ask("GET", "/", headers={"Date": "yesterday"}).code == "AccessDenied"
        old = {"Date": "Tue, 27 Mar 2007 19:36:42 +0000"}
        said = caller.ask("GET", "/", headers=old)
        assert (said.status, said.code) == (403, "RequestTimeTooSkewed")
        assert said.xml.findtext("HttpErrorCode") == "403"
    assert pearl.contents(bucket) == {}


def test_a_clock_of_its_own() -> None:
    with Blackpearl(clock_offset_s=-1000) as behind, Caller(behind.port) as caller:
        assert caller.ask("GET", "/").code == "RequestTimeTooSkewed"
    with Blackpearl(clock_offset_s=-600) as behind, Caller(behind.port) as caller:
        assert caller.ask("GET", "/").status == 200


def test_a_date_without_a_zone_is_utc(monkeypatch: pytest.MonkeyPatch, caller: Caller) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        soon = formatdate(time.time() + 60)
        said = caller.ask("GET", "/", headers={"Date": soon})
    time.tzset()
    assert (soon[-5:], said.status) == ("-0000", 200)


@pytest.mark.parametrize("subresources", ["?delete&versions=x", "?delete?versions=x"])
def test_subresources_are_signed_in_either_way(subresources: str) -> None:
    request = Request("GET", "/b", "versions=x&prefix=y&delete", {"date": "now"}, b"")
    signed = sign(SECRET_KEY, "GET", f"/b{subresources}", request.headers)
    texts = blackpearl_signature.strings_to_sign(request)
    assert signed in [blackpearl_signature.signature(SECRET_KEY, text) for text in texts]


def test_headers_and_subresources_have_to_be_signed(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    date = formatdate()
    for unsigned, query in [
        ({"x-amz-meta-a": "1"}, ""),
        ({"content-type": "a/b"}, ""),
        ({}, "versions"),
    ]:
        signature = sign(SECRET_KEY, "GET", f"/{bucket}", {"date": date})
        headers = {"date": date, "authorization": f"AWS {caller.access}:{signature}", **unsigned}
        assert caller.ask("GET", f"/{bucket}", query, headers=headers).status == 403


def test_a_header_given_twice_is_one_with_both_values(pearl: Blackpearl) -> None:
    bucket = pearl.new_bucket()
    headers = {"date": formatdate(), "x-amz-meta-tag": "a,b"}
    signature = sign(SECRET_KEY, "PUT", f"/{bucket}/k", headers)
    lines = [
        f"PUT /{bucket}/k HTTP/1.1",
        *("X-Amz-Meta-Tag: a", "X-Amz-Meta-TAG: b", f"Date: {headers['date']}"),
        *(f"Authorization: AWS c3BlY3RyYQ==:{signature}", "Content-Length: 0", "", ""),
    ]
    with socket.create_connection(("127.0.0.1", pearl.port)) as connection:
        connection.sendall("\r\n".join(lines).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    assert pearl.metadata(bucket, "k") == {"tag": "a,b"}


def test_a_connection_ends_where_it_was_told_to_and_says_so(pearl: Blackpearl) -> None:
    with socket.create_connection(("127.0.0.1", pearl.port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1000), b""))
    assert (answer[:12], answer[-8:]) == (b"HTTP/1.1 403", b"</Error>")
    assert b"\r\nConnection: close\r\n" in answer


def test_as_a_proxy_it_stands_before_itself(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    date = formatdate()
    caller.connection.putrequest("GET", f"http://blackpearl.example:81/{bucket}")
    caller.connection.putheader("date", date)
    signature = sign(SECRET_KEY, "GET", f"/{bucket}", {"date": date})
    caller.connection.putheader("authorization", f"AWS {caller.access}:{signature}")
    caller.connection.endheaders()
    answer = caller.connection.getresponse()
    assert (answer.status, b"ListBucketResult" in answer.read()) == (200, True)
    assert pearl.requests[-1].headers["host"] == "blackpearl.example:81"


def test_over_tls(tmp_path: Path) -> None:
    certificate = certify(tmp_path)
    with Blackpearl(certificate=certificate) as pearl, Caller(pearl.port) as caller:
        context = ssl.create_default_context(cafile=certificate.authority)
        caller.connection = HTTPSConnection("127.0.0.1", pearl.port, context=context)
        assert pearl.endpoint.startswith("https://")
        assert caller.ask("GET", "/").status == 200


# Buckets


def test_buckets_are_made_listed_and_removed(pearl: Blackpearl, caller: Caller) -> None:
    assert caller.ask("PUT", "/my-bucket").status == 200
    assert caller.ask("GET", "/").texts("Buckets/Bucket/Name") == ["my-bucket"]
    assert caller.ask("PUT", "/my-bucket").code == "BucketAlreadyExists"
    assert [caller.ask("PUT", path).status for path in ("/b/", "/a", "/a?b", "/-ab")] == [400] * 4
    assert caller.ask("HEAD", "/my-bucket").status == 200
    assert (caller.ask("HEAD", "/other").status, caller.ask("HEAD", "/other").body) == (404, b"")
    pearl.put("my-bucket", "a", b"")
    assert caller.ask("DELETE", "/my-bucket").code == "BucketNotEmpty"
    assert caller.ask("DELETE", "/my-bucket/a").status == 204
    assert caller.ask("DELETE", "/my-bucket/a").code == "ObjectNotFound"
    assert caller.ask("DELETE", "/my-bucket").status == 204
    said = caller.ask("DELETE", "/my-bucket")
    assert (said.status, said.code) == (404, "NoSuchBucket")


def test_a_bucket_is_removed_with_all_in_it_only_by_force(
    pearl: Blackpearl, caller: Caller
) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a", b"1")
    caller.start_put(bucket, {"b": 5})
    assert caller.ask("DELETE", f"/_rest_/bucket/{bucket}").status == 409
    assert caller.ask("DELETE", f"/_rest_/bucket/{bucket}", "force").status == 204
    assert [job.status for job in pearl.jobs] == ["CANCELED"]
    assert caller.ask("GET", "/").texts("Buckets/Bucket") == []


def test_a_page_of_a_listing(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    keys = ["a", "b/1", "b/2", "c c", "d", "\u00e9", "\U0001f600", "\uffee"]
    for key in keys:
        pearl.put(bucket, key, b"12")
    said = caller.ask("GET", f"/{bucket}", "max_keys=3")
    assert said.texts("Contents/Key") == keys[:3]
    assert said.texts("Contents/Size") == ["2"] * 3
    assert [said.xml.findtext(each) for each in ("IsTruncated", "NextMarker")] == ["true", "b/2"]
    said = caller.ask("GET", f"/{bucket}", "marker=b/2")
    assert said.texts("Contents/Key") == sorted(keys[3:])  # code points are in the order of UTF-8
    assert said.xml.findtext("IsTruncated") == "false"
    said = caller.ask("GET", f"/{bucket}", "delimiter=/&max_keys=2")
    assert (said.texts("Contents/Key"), said.texts("CommonPrefixes/Prefix")) == (["a"], ["b/"])
    assert said.xml.findtext("NextMarker") == "b/"
    said = caller.ask("GET", f"/{bucket}", "delimiter=/&marker=b/&prefix=")
    assert said.texts("CommonPrefixes/Prefix") == []
    assert caller.ask("GET", f"/{bucket}", "prefix=c+c").texts("Contents/Key") == ["c c"]


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/", "list-type=2"),
        ("GET", "/{}", "max-keys=2"),
        ("GET", "/{}", "encoding-type=url"),
        ("GET", "/{}", "max_keys=many"),
        ("GET", "/{}", "uploads"),
        ("PUT", "/{}/a", "partNumber=1"),
        ("PUT", "/{}/a", "offset=0"),
        ("GET", "/{}/a", "job_id=1"),
        ("GET", "/_rest_/job_chunk", "jobs=1"),
        ("GET", "/_rest_/job_chunk", ""),
        ("PUT", "/_rest_/bucket/{}", "operation=start_bulk_fetch"),
        ("DELETE", "/_rest_/folder/a", "bucket_id={}"),
        ("POST", "/{}", ""),
    ],
)
def test_what_an_operation_does_not_have_is_refused(
    pearl: Blackpearl, caller: Caller, method: str, path: str, query: str
) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a", b"")
    said = caller.ask(method, path.format(bucket), query.format(bucket), b"")
    assert (said.status, said.code) == (400, "BadRequest")


def test_many_are_deleted_at_once(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    pearl.put(bucket, "a&b", b"")
    pearl.put(bucket, "c", b"")
    body = b"<Delete><Object><Key>a&amp;b</Key></Object><Object><Key>no</Key></Object></Delete>"
    said = caller.ask("POST", f"/{bucket}", "delete", body)
    assert said.texts("Deleted/Key") == ["a&b"]
    assert (said.texts("Error/Key"), said.texts("Error/Code")) == (["no"], ["ObjectNotFound"])
    quiet = b"<Delete><Quiet>true</Quiet><Object><Key>c</Key></Object></Delete>"
    assert list(caller.ask("POST", f"/{bucket}", "delete", quiet).xml) == []
    assert pearl.contents(bucket) == {}
    assert caller.ask("POST", f"/{bucket}", "delete", b"<Delete></Delete>").status == 400
    assert caller.ask("POST", f"/{bucket}", "delete", b"<Delete>").status == 400


def test_a_folder_is_deleted_and_its_namesake_is_not(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket()
    for key in ("data", "data/", "data/a b/1", "database/2"):
        pearl.put(bucket, key, b"")
    inner = caller.ask("DELETE", "/_rest_/folder/data/a b", f"bucket_id={bucket}&recursive")
    assert (inner.status, list(pearl.contents(bucket))) == (204, ["data", "data/", "database/2"])
    assert (
        caller.ask("DELETE", "/_rest_/folder/data/", f"bucket_id={bucket}&recursive").status == 204
    )
    assert list(pearl.contents(bucket)) == ["data", "database/2"]
    assert (
        caller.ask("DELETE", "/_rest_/folder/data", f"bucket_id={bucket}&recursive").status == 404
    )


def test_policies_and_their_buckets(pearl: Blackpearl, caller: Caller) -> None:
    bucket = pearl.new_bucket("SHA_256", "NONE", checksum_required=True)
    policy_id = caller.ask("GET", f"/_rest_/bucket/{bucket}").xml.findtext("DataPolicyId")
    policy = caller.ask("GET", f"/_rest_/data_policy/{policy_id}").xml
    told = [policy.findtext(each) for each in ("ChecksumType", "EndToEndCrcRequired", "Versioning")]
    assert told == ["SHA_256", "true", "NONE"]
    made = caller.ask("POST", "/_rest_/bucket", f"name=other&data_policy_id={policy_id}")
    assert (made.status, made.xml.findtext("DataPolicyId")) == (201, policy_id)
    listed = caller.ask("GET", "/_rest_/bucket", f"data_policy_id={policy_id}")
    assert listed.texts("Bucket/Name") == [bucket, "other"]
    assert policy_id in caller.ask("GET", "/_rest_/data_policy").texts("DataPolicy/Id")
    assert caller.ask("GET", "/_rest_/data_policy/none").status == 404


def test_the_system_tells_of_itself(caller: Caller) -> None:
    health = caller.ask("GET", "/_rest_/system_health")
    assert health.texts("DatabaseFilesystemFreeSpace") == ["NORMAL"]
    information = caller.ask("GET", "/_rest_/system_information")
    assert information.texts("BuildInformation/Version") == ["5.4.0"]
    assert caller.ask("GET", "/_rest_/nothing").status == 404
