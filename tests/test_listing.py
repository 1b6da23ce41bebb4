"""Listings as the stores have them: exact, in order, in little memory, over one connection."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from contextlib import closing
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import BucketNotFound, CredentialsRefused
from ingest.settings import AccessKey
from ingest.storage.api import api_of
from ingest.storage.base import Entry, Prefix
from ingest.storage.connection import Clients, Connection
from ingest.storage.listing import list_directory, list_objects
from ingest.storage.pages import ListingStyle, Place
from listings import KEY, Honest, in_bytes, in_turn, keys_of, served, xml_of
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from support import S3Server


# --- real servers ---------------------------------------------------------------------------------

ODD_KEYS = [
    "plain",
    "with space",
    "a+b",
    "a b",
    "a%b",
    "a%20b",
    "a%2Fb",
    "a%2Bb",
    "q\"'&<>;=?#",
    "~*()!$,:@[]{}|\\^`",
    "café",
    "decompose\u0301",
    "日本/語",
    "\ue000",
    "\uffff",
    "😀 smile",
    "dir/x y",
    "dir+/x+y",
    "d r/deep/er/x",
    "dir-x",
    "dir.x",
    "tab\tx",
    "cr\rx",
    "bell\x07x",
    "del\x7f",
    "l/" + "k" * 200 + "/" + "é" * 400,
]
"""What both servers take."""

ODDER_KEYS = ["a//b", "/lead", "//", "trail/", "./x", "x/../y", "x/..", "k" * 1024, "cafe\u0301"]
"""What only moto takes: rclone keeps objects in directories, and one of two forms of a name."""


def _place(server: S3Server, bucket: str, **changes: Any) -> Place:
    place = Place(bucket, lambda: server.access_key, server.endpoint_url)
    return replace(place, **changes)


def _boto3(server: S3Server, bucket: str, **options: str) -> list[Entry]:
    pages = server.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, **options)
    return [
        Entry(
            found["Key"],
            found["Size"],
            found["LastModified"].timestamp(),
            found["ETag"].strip('"'),
        )
        for page in pages
        for found in page.get("Contents", [])
    ]


@pytest.fixture(scope="module")
def odd_buckets(request: pytest.FixtureRequest) -> Callable[[str], tuple[S3Server, str]]:
    """A bucket of odd keys on each server, filled when it is first asked for."""
    filled: dict[str, tuple[S3Server, str]] = {}

    def bucket_of(name: str) -> tuple[S3Server, str]:
        if name not in filled:
            server: S3Server = request.getfixturevalue(f"{name}_server")
            bucket, client = server.new_bucket(), server.client()
            for number, key in enumerate(ODD_KEYS + (ODDER_KEYS if name == "moto" else [])):
                client.put_object(Bucket=bucket, Key=key, Body=b"x" * number)
            filled[name] = server, bucket
        return filled[name]

    return bucket_of


@pytest.fixture(params=["rclone", "moto"])
def odd(
    request: pytest.FixtureRequest, odd_buckets: Callable[[str], tuple[S3Server, str]]
) -> tuple[S3Server, str]:
    return odd_buckets(request.param)


def test_the_listing_is_that_of_boto3(odd: tuple[S3Server, str]) -> None:
    server, bucket = odd
    listed = list(list_objects(_place(server, bucket)))
    assert listed == _boto3(server, bucket)
    expected = ODD_KEYS + (ODDER_KEYS if server.name == "moto" else [])
    assert [entry.key for entry in listed] == sorted(expected, key=str.encode)


@pytest.mark.parametrize(
    "prefix",
    ["", "a", "a ", "a+", "a%", "a%2", "dir", "dir/", "dir+/", "d r/", "caf", "é", "日本/"],
)
def test_a_prefix_is_taken_as_it_is(odd: tuple[S3Server, str], prefix: str) -> None:
    server, bucket = odd
    listed = list(list_objects(_place(server, bucket), prefix))
    assert listed == _boto3(server, bucket, Prefix=prefix)
    assert all(entry.key.startswith(prefix) for entry in listed)
    assert listed or prefix == "é"


@pytest.mark.parametrize("after", ["a+b", "dir+", "dir/x y", "😀 smile", "é"])
def test_listing_after_a_key(odd: tuple[S3Server, str], after: str) -> None:
    server, bucket = odd
    expected = [entry.key for entry in _boto3(server, bucket) if entry.key > after]
    assert keys_of(_place(server, bucket), start_after=after) == expected


@pytest.mark.parametrize("prefix", ["", "d r/", "d r/deep/", "dir+/"])
def test_a_directory_is_that_of_boto3(odd: tuple[S3Server, str], prefix: str) -> None:
    server, bucket = odd
    answer = server.client().list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/")
    listed = list(list_directory(_place(server, bucket), prefix))
    assert [item.key for item in listed if isinstance(item, Prefix)] == [
        found["Prefix"] for found in answer.get("CommonPrefixes", [])
    ]
    assert [item.key for item in listed if isinstance(item, Entry)] == [
        found["Key"] for found in answer.get("Contents", [])
    ]
    assert [item.key for item in listed] == sorted(item.key for item in listed)


@pytest.mark.parametrize("style", [ListingStyle(version=1), ListingStyle(1, url_encode=False)])
def test_list_objects_version_1(odd: tuple[S3Server, str], style: ListingStyle) -> None:
    server, bucket = odd
    listed = list(list_objects(_place(server, bucket, style=style), "a"))
    assert listed == _boto3(server, bucket, Prefix="a")


def _filled(server: S3Server, keys: Iterable[str]) -> str:
    bucket = server.new_bucket()
    clients = Clients(Connection(server.endpoint_url, "us-east-1", server.access_key))
    with closing(api_of(clients, bucket)) as api:
        for key in keys:
            api.call("PUT", key)
    return bucket


def test_over_a_thousand_objects(rclone_server: S3Server) -> None:
    keys = [f"{number % 7} +/{number:04}" for number in range(2_005)]
    bucket = _filled(rclone_server, keys)
    for style in (ListingStyle(), ListingStyle(version=1)):
        place = _place(rclone_server, bucket, style=style)
        assert keys_of(place) == sorted(keys)
        assert [item.key for item in list_directory(place)] == [f"{n} +/" for n in range(7)]


def test_over_a_thousand_objects_of_moto(moto_server: S3Server) -> None:
    keys = [f"p/{number:04} +" for number in range(1_003)]
    bucket = _filled(moto_server, keys)
    for style in (ListingStyle(), ListingStyle(version=1)):
        assert keys_of(_place(moto_server, bucket, style=style), "p/") == keys


def test_a_missing_bucket(s3_server: S3Server) -> None:
    with pytest.raises(
        BucketNotFound, match=r"cannot list s3://nowhere/ at .*NoSuchBucket"
    ) as found:
        keys_of(_place(s3_server, "nowhere"))
    assert found.value.exit_code == 4


def test_an_empty_bucket(s3_server: S3Server) -> None:
    place = _place(s3_server, s3_server.new_bucket())
    assert keys_of(place) == []
    assert list(list_directory(place, "a/")) == []


@pytest.mark.parametrize(
    "key", [AccessKey("TESTACCESSKEY", "wrong-secret"), AccessKey("NOBODY", "test-secret-key")]
)
def test_refused_credentials(rclone_server: S3Server, key: AccessKey) -> None:
    bucket = rclone_server.new_bucket()
    with pytest.raises(CredentialsRefused) as refused:
        keys_of(_place(rclone_server, bucket, credentials=lambda: key))
    assert refused.value.exit_code == 3
    assert key.secret_access_key not in str(refused.value)


def test_a_session_token_is_signed(moto_server: S3Server) -> None:
    bucket = moto_server.new_bucket()
    key = AccessKey("testing", "testing", "token")
    assert keys_of(_place(moto_server, bucket, credentials=lambda: key)) == []


# --- order and exactness --------------------------------------------------------------------------

_names = st.one_of(
    st.text(st.sampled_from("ab/+% \t\r\n\0&<.é\uffff😀"), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape")),
)


@settings(max_examples=60, deadline=None)
@given(keys=st.sets(_names, max_size=30), page=st.integers(1, 7), prefix=st.sampled_from("ab/+ é"))
def test_every_key_comes_once_in_byte_order(keys: set[str], page: int, prefix: str) -> None:
    with served(Honest(keys, page)) as peer:
        for style in (ListingStyle(), ListingStyle(version=1)):
            place = peer.place(style=style)
            ordered = sorted(keys, key=in_bytes)
            assert keys_of(place) == ordered
            assert keys_of(place, prefix) == [key for key in ordered if key.startswith(prefix)]
            for after in ordered[::5]:
                expected = [key for key in ordered if in_bytes(key) > in_bytes(after)]
                assert keys_of(place, start_after=after) == expected


@settings(max_examples=40, deadline=None)
@given(keys=st.sets(_names, max_size=30), page=st.integers(2, 7), version=st.sampled_from([1, 2]))
def test_a_directory_has_every_name_once_in_byte_order(
    keys: set[str], page: int, version: Any
) -> None:
    expected = {key.partition("/")[0] + ("/" if "/" in key else "") for key in keys}
    with served(Honest(keys, page)) as peer:
        listed = list(list_directory(peer.place(style=ListingStyle(version=version))))
    assert [item.key for item in listed] == sorted(expected, key=in_bytes)
    assert all(isinstance(item, Prefix) == ("/" in item.key) for item in listed)


@pytest.mark.parametrize("encode", [quote, quote_plus, lambda key: quote(key, safe="")])
def test_each_way_to_encode_a_name(encode: Callable[[str], str]) -> None:
    keys = ["a b", "a%20b", "a%2Bb", "a+b", "é/ü"]
    with served(Honest(keys, encode=encode)) as peer:
        assert keys_of(peer.place()) == keys


def test_names_are_taken_as_they_are_where_the_store_does_not_say_it_encodes() -> None:
    keys = ["a b", "a%20b", "a%2Bb", "a+b", "q&<>\"'"]
    with served(Honest(keys, encode=None)) as peer:
        assert keys_of(peer.place()) == keys
        assert keys_of(peer.place(style=ListingStyle(url_encode=False))) == keys
        assert [query.get("encoding-type") for query in peer.asked] == ["url", None]


def test_what_an_entry_holds() -> None:
    with served(Honest(["k"])) as peer:
        assert list(list_objects(peer.place())) == [Entry("k", 7, 1767323045.678, "abc")]


def test_times_without_zone_are_utc_and_an_etag_may_be_missing() -> None:
    page = xml_of(["k"]).replace(b".678Z<", b"<").replace(b"&quot;abc&quot;", b"")
    with served(in_turn(page)) as peer:
        assert list(list_objects(peer.place())) == [Entry("k", 7, 1767323045.0, None)]


# --- one connection, little memory, late imports --------------------------------------------------


def test_one_connection_serves_all_pages_and_each_is_signed_anew() -> None:
    names = iter("ABCDEFGH")
    with served(Honest("abcdefg", 2)) as peer:
        place = peer.place(credentials=lambda: AccessKey(next(names), "secret"))
        assert keys_of(place) == list("abcdefg")
        assert peer.connections == 1
        assert [s.split("Credential=")[1][0] for s in peer.signatures] == list("ABCD")


def test_who_wants_only_the_beginning_has_one_page_asked_for() -> None:
    with served(Honest("abcdefg", 2)) as peer:
        with closing(list_objects(peer.place())) as listing:
            assert [entry.key for entry in islice(listing, 2)] == ["a", "b"]
            assert not peer.hung_up.is_set()
        assert len(peer.asked) == 1
        assert peer.hung_up.wait(10)


def test_from_the_third_on_a_page_is_asked_for_before_it_is_needed() -> None:
    with served(Honest("abcdefghi", 2)) as peer:
        with closing(list_objects(peer.place())) as listing:
            assert [entry.key for entry in islice(listing, 3)] == ["a", "b", "c"]
            assert peer.third.wait(10)
        assert peer.hung_up.wait(10)
        assert len(peer.asked) == 3


@pytest.fixture(scope="module")
def listing_server() -> Iterator[Callable[[int], str]]:
    """Start ``bench/listing_server.py`` with so many objects, and return its endpoint."""
    started: list[subprocess.Popen[str]] = []

    def start(objects: int) -> str:
        script = REPOSITORY / "bench" / "listing_server.py"
        command = [sys.executable, script, "--objects", str(objects)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout
        return started[-1].stdout.readline().strip()

    yield start
    for server in started:
        with server:
            server.terminate()


def test_memory_does_not_grow_with_the_listing(listing_server: Callable[[int], str]) -> None:
    def peak(objects: int) -> int:
        place = Place("bench", lambda: KEY, listing_server(objects))
        tracemalloc.start()
        try:
            assert sum(1 for _ in list_objects(place)) == objects
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1_000)  # what is loaded once
    assert peak(50_000) < 1.3 * peak(1_000)


def test_the_listing_server_lists_as_s3_does(listing_server: Callable[[int], str]) -> None:
    place = Place("bench", lambda: KEY, listing_server(2_500))
    keys = keys_of(place)
    assert keys == [f"data/{n // 1000:05}/{n % 1000:03}.bin" for n in range(2_500)]
    assert keys_of(place, "data/00001/") == keys[1_000:2_000]
    assert keys_of(place, "data/0000", keys[1_499]) == keys[1_500:]
    directories = [f"data/{n:05}/" for n in range(3)]
    assert [item.key for item in list_directory(place)] == ["data/"]
    assert [item.key for item in list_directory(place, "data/")] == directories
    assert [item.key for item in list_directory(place, "data/00002/")] == keys[2_000:]


def test_a_listing_loads_neither_boto_nor_urllib3() -> None:
    with served(Honest(["a"])) as peer:
        url = peer.place().endpoint_url
        code = (
            "import sys\n"
            "from ingest.settings import AccessKey\n"
            "from ingest.storage.listing import list_objects\n"
            "from ingest.storage.pages import Place\n"
            f"place = Place('lake', lambda: AccessKey('id', 'secret'), {url!r})\n"
            "print([entry.key for entry in list_objects(place)])\n"
            "print([m for m in ('boto3', 'botocore', 'urllib3') if m in sys.modules])\n"
        )
        command = [sys.executable, "-c", code]
        ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["['a']", "[]"]
