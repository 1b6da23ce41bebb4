"""The signature of version 2, by the vendor's and S3's own test vectors."""

from __future__ import annotations

import pytest

from ingest.storage.spectra.signature import (
    amz_headers,
    authorization,
    escaped_path,
    escaped_query,
    string_to_sign,
)

S3_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
PUPPY = "/johnsmith/photos/puppy.jpg"
TWELVE = {
    "x-amz-meta-accession_id": "645106EF7E9C201606090608001",
    "x-amz-meta-attributes": "0",
    "x-amz-meta-creation_date": "0",
    "x-amz-meta-file-number": "0",
    "x-amz-meta-file_type": "text/plain",
    "x-amz-meta-media_type": "12",
    "x-amz-meta-modification_date": "1465445122",
    "x-amz-meta-original_file_name": (
        r"\\172.18.7.30\DPIShare\BlackPearl_Landing\Original_video\645106EF7E9C\2016\0609\0608"
        r"\001\000000\000000.idx"
    ),
    "x-amz-meta-profile": "-1",
    "x-amz-meta-profile-name": "Original_video",
    "x-amz-meta-relationship_id": "[BK-IMG-MCC]:[1]:[1463]",
    "x-amz-meta-status": "0",
}
VECTORS = {
    "get": (
        S3_SECRET,
        ("GET", PUPPY, {}),
        {"Date": "Tue, 27 Mar 2007 19:36:42 +0000"},
        "bWq2s1WEIj+Ydj0vQ697zp+IXMU=",
    ),
    "put": (
        S3_SECRET,
        ("PUT", PUPPY, {}),
        {"Content-Type": "image/jpeg", "Date": "Tue, 27 Mar 2007 21:15:45 +0000"},
        "MyyxeRY7whkBe+bq8fHCL/2kKUg=",
    ),
    "metadata": (
        "BYY65vje",
        ("PUT", "/bucket10240012288/client00obj000019-000010000012", {}),
        {
            "Content-MD5": "dnkIhVaDL873NHQcAx5AIA==",
            "Content-Type": "application/xml; charset=ISO-8859-1",
            "Date": "Thu, 31 Mar 2016 18:08:30 +0000",
            "x-amz-meta-etag": "7679088556832fcef734741c031e4020",
        },
        "/FDHtkaFgjSVVgBfNfTAwrhdpCc=",
    ),
    "names-that-begin-alike": (
        "Tvjx7nvS",
        (
            "PUT",
            "/imagen/0x060a2b340101010201010f1213092a6e103251014875058057a0645106EF7E9C",
            {"job": "5853010e-bc89-4d51-b08a-f7202884ec13", "offset": "0"},
        ),
        {
            "Content-MD5": "WYzyx46nMf4NWQWGdF0vLQ==",
            "Date": "Thu, 29 Sep 2016 14:19:08 GMT",
            **TWELVE,
        },
        "wVPEi7wKED5IilaTrNaDiFjkJUc=",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_a_vector_is_signed_as_it_should_be(vector: tuple) -> None:  # type: ignore[type-arg]
    secret, (method, path, query), headers, signature = vector
    signed = string_to_sign(method, path, query, headers)
    assert authorization("id", secret, signed) == f"AWS id:{signature}"


@pytest.mark.parametrize("order", [1, -1])
def test_headers_are_lower_cased_and_sorted_by_name_whatever_order_they_are_in(order: int) -> None:
    """S-D11: by line, ``profile-name`` would come before ``profile``."""
    vector = VECTORS["names-that-begin-alike"]
    shouted = {name.upper().replace("X-AMZ-META", "X-Amz-Meta"): v for name, v in TWELVE.items()}
    headers = vector[2] | dict(list(shouted.items())[::order])
    for name in TWELVE:
        del headers[name]
    signed = string_to_sign(*vector[1], headers)
    assert authorization("id", vector[0], signed) == f"AWS id:{vector[3]}"


def test_headers_of_one_name_are_merged() -> None:
    """S-D11."""
    merged = amz_headers([("X-Amz-Meta-A", "1"), ("x-amz-meta-b", "2"), ("x-amz-meta-a", " 3 ")])
    assert merged == {"x-amz-meta-a": "1,3", "x-amz-meta-b": "2"}
    assert list(merged) == ["x-amz-meta-a", "x-amz-meta-b"]


def test_headers_of_a_request_without_a_body_are_signed_too() -> None:
    """S-D11."""
    signed = string_to_sign("GET", "/b", {}, {"Date": "now", "x-amz-meta-a": "1"})
    assert signed == "GET\n\n\nnow\nx-amz-meta-a:1\n/b"


@pytest.mark.parametrize("name", ["MD5", "CRC32", "CRC32C", "SHA256", "SHA512"])
def test_whichever_checksum_is_sent_is_signed(name: str) -> None:
    signed = string_to_sign("PUT", "/b/k", {}, {f"Content-{name}": "sum", "Date": "now"})
    assert signed == "PUT\nsum\n\nnow\n/b/k"


def test_of_a_query_subresources_alone_are_signed_and_sorted() -> None:
    query = {"versions": None, "job": "1", "force": None, "delete": None, "uploadId": "a/b"}
    signed = string_to_sign("GET", "/b", query, {})
    assert signed == "GET\n\n\n\n/b?delete&uploadId=a/b&versions"
    assert escaped_query(query) == "versions&job=1&force&delete&uploadId=a%2Fb"


def test_a_key_is_escaped_but_for_what_may_stand_in_a_path() -> None:
    path = escaped_path("b", "a b+;?#%&$,=@:'é\n~-._/c")
    assert path == "/b/a%20b%2B%3B%3F%23%25%26%24%2C%3D%40%3A%27%C3%A9%0A~-._/c"


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("../a", "/b/%2E%2E/a"),
        ("a/./b", "/b/a/%2E/b"),
        ("a/..", "/b/a/%2E%2E"),
        (".", "/b/%2E"),
        ("a//b/", "/b/a//b/"),
        (".a/b./.../c.d", "/b/.a/b./.../c.d"),
    ],
)
def test_segments_that_could_be_folded_on_the_way_are_escaped(key: str, path: str) -> None:
    assert escaped_path("b", key) == path
