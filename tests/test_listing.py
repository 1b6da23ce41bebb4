from __future__ import annotations

import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections import deque
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit
from xml.sax.saxutils import escape

import obstore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import S3Store

from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    IngestError,
    NotFound,
    StoreError,
)
from ingest.pacing import Backoff
from ingest.settings import AccessKey
from ingest.storage.answers import error_of
from ingest.storage.base import Entry, Prefix
from ingest.storage.listing import list_directory, list_objects
from ingest.storage.pages import ListingStyle, Place, _address
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from support import S3Server

_KEY = AccessKey("TESTACCESSKEY", "test-secret-key")
_ROW = (
    "<Contents><Key>{}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
    "<ETag>&quot;abc&quot;</ETag><Size>7</Size></Contents>"
)


def _xml_of(
    keys: Iterable[str] = (),
    *,
    more: str | None = "false",
    token: str | None = None,
    prefixes: Iterable[str] = (),
    encode: Callable[[str], str] | None = quote_plus,
) -> bytes:
    """Render a page; ``encode`` None is a store that does not url-encode, nor says it does."""
    write = encode or escape
    parts = ["<Prefix/>"]
    parts += [_ROW.format(write(key)) for key in keys]
    parts += [f"<CommonPrefixes><Prefix>{write(p)}</Prefix></CommonPrefixes>" for p in prefixes]
    parts += [f"<IsTruncated>{more}</IsTruncated>"] if more else []
    parts += [f"<NextContinuationToken>{token}</NextContinuationToken>"] if token else []
    parts += ["<EncodingType>url</EncodingType>"] if encode else []
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<ListBucketResult xmlns="{namespace}">{"".join(parts)}</ListBucketResult>'.encode()


@dataclass(frozen=True)
class Reply:
    """One answer; ``length`` is the Content-Length it claims, ``drop`` sends nothing at all."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    drop: bool = False


class Peer(ThreadingHTTPServer):
    """A server that answers each listing with ``answer(query)`` and remembers the query."""

    daemon_threads = True

    def __init__(self, answer: Callable[[dict[str, str]], bytes | Reply]) -> None:
        self.answer = answer
        self.asked: list[dict[str, str]] = []
        self.signatures: list[str] = []
        self.connections = 0
        self.hung_up = threading.Event()
        self.third = threading.Event()
        self.targets: list[str] = []
        super().__init__(("127.0.0.1", 0), _PeerHandler)

    def place(self, **changes: Any) -> Place:
        url = f"http://127.0.0.1:{self.server_port}"
        return replace(Place("lake", lambda: _KEY, url, wait=lambda _: None), **changes)


class _PeerHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Peer

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def finish(self) -> None:
        super().finish()
        self.server.hung_up.set()

    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        query = dict(parse_qsl(urlsplit(self.path).query, errors="surrogateescape"))
        self.server.asked.append(query)
        self.server.signatures.append(self.headers["Authorization"])
        if len(self.server.asked) == 3:
            self.server.third.set()
        answer = self.server.answer(query)
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        if reply.drop or reply.length is not None:
            self.close_connection = True
        if reply.drop:
            return
        self.send_response(reply.status)
        self.send_header(
            "Content-Length", str(len(reply.body) if reply.length is None else reply.length)
        )
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _peer(answer: Callable[[dict[str, str]], bytes | Reply]) -> Iterator[Peer]:
    with Peer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _in_turn(*answers: bytes | Reply) -> Callable[[dict[str, str]], bytes | Reply]:
    """Give one answer after the other, and the last one from then on."""
    left = deque(answers)
    return lambda _: left.popleft() if len(left) > 1 else left[0]


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogateescape")


@dataclass
class Honest:
    """What S3 answers for a bucket that has these keys, ``page`` names at a time."""

    keys: Iterable[str]
    page: int = 1000
    encode: Callable[[str], str] | None = lambda key: quote_plus(_bytes(key))

    def __call__(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = query.get("start-after", query.get("marker", ""))
        if token := query.get("continuation-token"):
            after = bytes.fromhex(token[1:]).decode("utf-8", "surrogateescape")
        names: dict[str, bool] = {}
        for key in self.keys:
            rest = key[len(prefix) :]
            head, slash, _ = rest.partition(delimiter) if delimiter else (rest, "", "")
            name = prefix + head + slash
            if key.startswith(prefix) and _bytes(name) > _bytes(after):
                names[name] = bool(slash)
        ordered = sorted(names, key=_bytes)
        page, more = ordered[: self.page], len(ordered) > self.page
        v2 = query.get("list-type") == "2"
        return _xml_of(
            [name for name in page if not names[name]],
            prefixes=[name for name in page if names[name]],
            more="true" if more else "false",
            token="T" + _bytes(page[-1]).hex() if more and v2 else None,
            encode=self.encode,
        )


def _keys(place: Place, prefix: str = "", start_after: str = "") -> list[str]:
    return [entry.key for entry in list_objects(place, prefix, start_after)]


def _error(place: Place, prefix: str = "") -> IngestError:
    """Return the error that the listing ends in, which is one line, with no secret."""
    with pytest.raises(IngestError) as caught:
        _keys(place, prefix)
    text = str(caught.value)
    assert text.startswith(f"cannot list s3://lake/{prefix} at http://127.0.0.1:")
    assert "\n" not in text
    assert "secret" not in text
    return caught.value


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
    assert _keys(_place(server, bucket), start_after=after) == expected


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
    store = S3Store(
        bucket,
        endpoint=server.endpoint_url,
        region="us-east-1",
        access_key_id=server.access_key.access_key_id,
        secret_access_key=server.access_key.secret_access_key,
        client_options={"allow_http": True},
    )
    for key in keys:
        obstore.put(store, key, b"")
    return bucket


def test_over_a_thousand_objects(rclone_server: S3Server) -> None:
    keys = [f"{number % 7} +/{number:04}" for number in range(2_005)]
    bucket = _filled(rclone_server, keys)
    for style in (ListingStyle(), ListingStyle(version=1)):
        place = _place(rclone_server, bucket, style=style)
        assert _keys(place) == sorted(keys)
        assert [item.key for item in list_directory(place)] == [f"{n} +/" for n in range(7)]


def test_over_a_thousand_objects_of_moto(moto_server: S3Server) -> None:
    keys = [f"p/{number:04} +" for number in range(1_003)]
    bucket = _filled(moto_server, keys)
    for style in (ListingStyle(), ListingStyle(version=1)):
        assert _keys(_place(moto_server, bucket, style=style), "p/") == keys


def test_a_missing_bucket(s3_server: S3Server) -> None:
    with pytest.raises(
        BucketNotFound, match=r"cannot list s3://nowhere/ at .*NoSuchBucket"
    ) as found:
        _keys(_place(s3_server, "nowhere"))
    assert found.value.exit_code == 4


def test_an_empty_bucket(s3_server: S3Server) -> None:
    place = _place(s3_server, s3_server.new_bucket())
    assert _keys(place) == []
    assert list(list_directory(place, "a/")) == []


@pytest.mark.parametrize(
    "key", [AccessKey("TESTACCESSKEY", "wrong-secret"), AccessKey("NOBODY", "test-secret-key")]
)
def test_refused_credentials(rclone_server: S3Server, key: AccessKey) -> None:
    bucket = rclone_server.new_bucket()
    with pytest.raises(CredentialsRefused) as refused:
        _keys(_place(rclone_server, bucket, credentials=lambda: key))
    assert refused.value.exit_code == 3
    assert key.secret_access_key not in str(refused.value)


def test_a_session_token_is_signed(moto_server: S3Server) -> None:
    bucket = moto_server.new_bucket()
    key = AccessKey("testing", "testing", "token")
    assert _keys(_place(moto_server, bucket, credentials=lambda: key)) == []


# --- order and exactness --------------------------------------------------------------------------

_names = st.one_of(
    st.text(st.sampled_from("ab/+% \t\r\n\0&<.é\uffff😀"), min_size=1, max_size=8),
    st.binary(min_size=1, max_size=8).map(lambda b: b.decode("utf-8", "surrogateescape")),
)


@settings(max_examples=60, deadline=None)
@given(keys=st.sets(_names, max_size=30), page=st.integers(1, 7), prefix=st.sampled_from("ab/+ é"))
def test_every_key_comes_once_in_byte_order(keys: set[str], page: int, prefix: str) -> None:
    with _peer(Honest(keys, page)) as peer:
        for style in (ListingStyle(), ListingStyle(version=1)):
            place = peer.place(style=style)
            ordered = sorted(keys, key=_bytes)
            assert _keys(place) == ordered
            assert _keys(place, prefix) == [key for key in ordered if key.startswith(prefix)]
            for after in ordered[::5]:
                expected = [key for key in ordered if _bytes(key) > _bytes(after)]
                assert _keys(place, start_after=after) == expected


@settings(max_examples=40, deadline=None)
@given(keys=st.sets(_names, max_size=30), page=st.integers(2, 7), version=st.sampled_from([1, 2]))
def test_a_directory_has_every_name_once_in_byte_order(
    keys: set[str], page: int, version: Any
) -> None:
    expected = {key.partition("/")[0] + ("/" if "/" in key else "") for key in keys}
    with _peer(Honest(keys, page)) as peer:
        listed = list(list_directory(peer.place(style=ListingStyle(version=version))))
    assert [item.key for item in listed] == sorted(expected, key=_bytes)
    assert all(isinstance(item, Prefix) == ("/" in item.key) for item in listed)


@pytest.mark.parametrize("encode", [quote, quote_plus, lambda key: quote(key, safe="")])
def test_each_way_to_encode_a_name(encode: Callable[[str], str]) -> None:
    keys = ["a b", "a%20b", "a%2Bb", "a+b", "é/ü"]
    with _peer(Honest(keys, encode=encode)) as peer:
        assert _keys(peer.place()) == keys


def test_names_are_taken_as_they_are_where_the_store_does_not_say_it_encodes() -> None:
    keys = ["a b", "a%20b", "a%2Bb", "a+b", "q&<>\"'"]
    with _peer(Honest(keys, encode=None)) as peer:
        assert _keys(peer.place()) == keys
        assert _keys(peer.place(style=ListingStyle(url_encode=False))) == keys
        assert [query.get("encoding-type") for query in peer.asked] == ["url", None]


def test_what_an_entry_holds() -> None:
    with _peer(Honest(["k"])) as peer:
        assert list(list_objects(peer.place())) == [Entry("k", 7, 1767323045.678, "abc")]


def test_times_without_zone_are_utc_and_an_etag_may_be_missing() -> None:
    page = _xml_of(["k"]).replace(b".678Z<", b"<").replace(b"&quot;abc&quot;", b"")
    with _peer(_in_turn(page)) as peer:
        assert list(list_objects(peer.place())) == [Entry("k", 7, 1767323045.0, None)]


# --- one connection, little memory, late imports --------------------------------------------------


def test_one_connection_serves_all_pages_and_each_is_signed_anew() -> None:
    names = iter("ABCDEFGH")
    with _peer(Honest("abcdefg", 2)) as peer:
        place = peer.place(credentials=lambda: AccessKey(next(names), "secret"))
        assert _keys(place) == list("abcdefg")
        assert peer.connections == 1
        assert [s.split("Credential=")[1][0] for s in peer.signatures] == list("ABCD")


def test_who_wants_only_the_beginning_has_one_page_asked_for() -> None:
    with _peer(Honest("abcdefg", 2)) as peer:
        with closing(list_objects(peer.place())) as listing:
            assert [entry.key for entry in islice(listing, 2)] == ["a", "b"]
            assert not peer.hung_up.is_set()
        assert len(peer.asked) == 1
        assert peer.hung_up.wait(10)


def test_from_the_third_on_a_page_is_asked_for_before_it_is_needed() -> None:
    with _peer(Honest("abcdefghi", 2)) as peer:
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
        place = Place("bench", lambda: _KEY, listing_server(objects))
        tracemalloc.start()
        try:
            assert sum(1 for _ in list_objects(place)) == objects
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1_000)  # what is loaded once
    assert peak(50_000) < 1.3 * peak(1_000)


def test_the_listing_server_lists_as_s3_does(listing_server: Callable[[int], str]) -> None:
    place = Place("bench", lambda: _KEY, listing_server(2_500))
    keys = _keys(place)
    assert keys == [f"data/{n // 1000:05}/{n % 1000:03}.bin" for n in range(2_500)]
    assert _keys(place, "data/00001/") == keys[1_000:2_000]
    assert _keys(place, "data/0000", keys[1_499]) == keys[1_500:]
    directories = [f"data/{n:05}/" for n in range(3)]
    assert [item.key for item in list_directory(place)] == ["data/"]
    assert [item.key for item in list_directory(place, "data/")] == directories
    assert [item.key for item in list_directory(place, "data/00002/")] == keys[2_000:]


def test_a_listing_loads_neither_boto_nor_urllib3() -> None:
    with _peer(Honest(["a"])) as peer:
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


def test_what_a_store_asks_for_is_waited_for() -> None:
    waits: list[float] = []
    busy = Reply(status=503, headers={"Retry-After": "7"})
    longer = Reply(status=503, headers={"Retry-After": "86400"})
    with _peer(_in_turn(busy, longer, _PAGE)) as peer:
        assert _keys(peer.place(wait=waits.append)) == ["a", "b"]
    assert waits == [7.0, 60.0]


# --- guards ---------------------------------------------------------------------------------------

_TEN = [f"k{number}" for number in range(10)]


def test_a_repeated_token_is_not_followed() -> None:
    honest = Honest(_TEN, 2)

    def stuck(query: dict[str, str]) -> bytes:
        page = honest(query)
        return _with_token(page, "SAME") if b"Token" in page else page

    def resolve(query: dict[str, str]) -> bytes:  # the token SAME means the second page, for ever
        if query.get("continuation-token") == "SAME":
            query = {"list-type": "2", "start-after": "k1"}
        return stuck(query)

    with _peer(resolve) as peer:
        assert _keys(peer.place()) == _TEN
        assert len(peer.asked) < 12


def _with_token(page: bytes, token: str) -> bytes:
    head, _, rest = page.partition(b"<NextContinuationToken>")
    _, _, tail = rest.partition(b"</NextContinuationToken>")
    element = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return head + element.encode() + tail


def test_a_missing_token_is_done_without() -> None:
    honest = Honest(_TEN, 3)
    with _peer(lambda query: _with_token(honest(query), "")) as peer:
        assert _keys(peer.place()) == _TEN
        assert [query.get("start-after") for query in peer.asked] == [None, "k2", "k5", "k8"]


def test_a_missing_token_in_a_directory() -> None:
    honest = Honest(["a", "b/1", "b/2", "c/1", "d/1"], 2)

    def within(
        query: dict[str, str],
    ) -> bytes:  # StartAfter "b/" finds what is in it, and so folds it again
        if query.get("start-after", "").endswith("/"):
            query = query | {"start-after": query["start-after"][:-1]}
        return _with_token(honest(query), "")

    with _peer(within) as peer:
        names = [item.key for item in list_directory(peer.place())]
    assert names == ["a", "b/", "c/", "d/"]


@pytest.mark.parametrize("where", ["k0", "k1"])
def test_a_token_that_leads_back_is_left_for_the_last_key(where: str) -> None:
    honest = Honest(_TEN, 3)

    def back(query: dict[str, str]) -> bytes:
        token = query.get("continuation-token")
        return honest(query if token is None else {"list-type": "2", "start-after": where})

    with _peer(back) as peer:
        assert _keys(peer.place()) == _TEN


def test_a_store_that_always_answers_with_the_first_page() -> None:
    first = _xml_of(["a", "b"], more="true", token="T")
    with _peer(_in_turn(first)) as peer:
        assert "asked for what comes after 'b', got 'a'" in str(_error(peer.place()))
        asked = [query.get("start-after") for query in peer.asked]
        assert asked[:3] == [None, None, "b"]


@pytest.mark.parametrize("version", [1, 2])
def test_more_without_a_way_to_come_to_it(version: Any) -> None:
    with _peer(_in_turn(_xml_of(more="true"))) as peer:
        error = _error(peer.place(style=ListingStyle(version=version)))
        assert "said to be more" in str(error)
        assert len(peer.asked) == 1


def test_an_empty_page_that_repeats_its_token() -> None:
    first, second = _xml_of(["a"], more="true", token="T"), _xml_of(more="true", token="T")
    with _peer(_in_turn(first, second)) as peer:
        assert "said to be more" in str(_error(peer.place()))
        assert len(peer.asked) == 2


def test_empty_pages_are_passed_over() -> None:
    empty = [_xml_of(more="true", token=f"T{number}") for number in range(20)]
    with _peer(_in_turn(*empty, _xml_of(["a"]))) as peer:
        assert _keys(peer.place()) == ["a"]


def test_empty_pages_for_ever() -> None:
    tokens = (f"T{number}" for number in range(10_000))
    with _peer(lambda _: _xml_of(more="true", token=next(tokens))) as peer:
        assert "100 pages without a new key" in str(_error(peer.place()))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (_xml_of(["a", "c", "b"]), "not in order: 'c', then 'b'"),
        (_xml_of(["a", "a"]), "not in order: 'a', then 'a'"),
        (_xml_of(["😀", "\uffff"]), "not in order"),  # the order of UTF-16
        (_xml_of(["a", ""]), "not in order"),
        (_xml_of([f"{n:04}" for n in range(1_001)]), "1,001 names on a page"),
        (_xml_of(["a"], prefixes=["b/"]), "not asked for"),
        (_xml_of(["a"], more=None), "does not say whether there is more"),
        (_xml_of(["a"], more="maybe"), "does not say whether there is more"),
        (_xml_of(["a"]).replace(b"<Size>7</Size>", b""), "cannot be read"),
        (_xml_of(["a"]).replace(b"2026-01-02T", b"yesterday"), "cannot be read"),
        (_xml_of(["a\x01"], encode=str), "no XML"),
        (_xml_of(["a"]).replace(b"</Key>", b"</Kee>"), "no XML"),
        (b"<html><body>Welcome</body></html>", "no listing, but <html>"),
        (b"<!doctype html><html><br></body>", "no XML"),
        (b"It works!", "no XML"),
        (b" " * (17 * 1_048_576), "more than 16,777,216 bytes"),
    ],
)
def test_a_page_that_cannot_be_trusted(page: bytes, said: str) -> None:
    with _peer(_in_turn(page)) as peer:
        error = _error(peer.place())
        assert type(error) is StoreError
        assert said in str(error)
        assert len(peer.asked) == 1


@pytest.mark.parametrize("key", ["database/x", "data", "data!"])
def test_a_key_outside_of_the_prefix(key: str) -> None:
    with _peer(_in_turn(_xml_of(sorted(["data/x", key])))) as peer:
        assert f"{key!r} is outside of the prefix" in str(_error(peer.place(), "data/"))


def test_pages_before_the_fault_are_yielded() -> None:
    first, second = _xml_of(["a", "b"], more="true", token="T"), _xml_of(["d", "c"])
    with _peer(_in_turn(first, second)) as peer:
        listing = list_objects(peer.place())
        assert [next(listing).key, next(listing).key] == ["a", "b"]
        with pytest.raises(StoreError, match="not in order"):
            next(listing)


# --- failures on the way --------------------------------------------------------------------------

_PAGE = _xml_of(["a", "b"])
_SLOW = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_PASSING = {
    "429": Reply(b"", 429),
    "500": Reply(b"oops", 500),
    "502": Reply(b"<html>Bad Gateway</html>", 502),
    "503": Reply(_SLOW, 503),
    "504": Reply(b"", 504),
    "an error with status 200": Reply(_SLOW),
    "a timeout of the store's": Reply(b"<Error><Code>RequestTimeout</Code></Error>", 400),
    "a dropped connection": Reply(drop=True),
    "a body that breaks off": Reply(_PAGE[:300], length=len(_PAGE)),
    "a body that is cut short": Reply(_PAGE[:300]),
    "a body cut within a tag": Reply(_PAGE[:-5]),
    "no body": Reply(b""),
}


@pytest.mark.parametrize("failure", _PASSING)
def test_what_passes_is_tried_again(failure: str) -> None:
    waits: list[float] = []
    with _peer(_in_turn(Reply(b"", 503), *[_PASSING[failure]] * 5, _PAGE)) as peer:
        backoff = Backoff(retries=6, base_s=1, cap_s=8)
        assert _keys(peer.place(backoff=backoff, wait=waits.append)) == ["a", "b"]
    assert [
        whole / 2 <= wait <= whole for wait, whole in zip(waits, [1, 2, 4, 8, 8, 8], strict=True)
    ]
    assert len(peer.asked) == 7


@pytest.mark.parametrize("failure", _PASSING)
def test_retries_are_used_up_at_last(failure: str) -> None:
    first = _xml_of(["a"], more="true", token="T")
    with _peer(_in_turn(first, _PASSING[failure])) as peer:
        error = _error(peer.place(backoff=Backoff(retries=3)))
        assert isinstance(error, StoreError)
        assert not isinstance(error, NotFound)
        assert len(peer.asked) == 1 + 4


def test_a_slow_down_says_so() -> None:
    with _peer(_in_turn(Reply(_SLOW, 503))) as peer:
        assert "SlowDown: Please reduce your request rate." in str(_error(peer.place()))


def test_an_endpoint_that_never_answers_is_given_up_soon() -> None:
    waits: list[float] = []
    with _peer(_in_turn(_PAGE)) as peer:
        place = peer.place(wait=waits.append)
    assert "Connection refused" in str(_error(place))
    assert len(waits) == 2


def test_a_host_that_does_not_exist() -> None:
    place = Place("lake", lambda: _KEY, "http://nowhere.invalid", wait=lambda _: None)
    with pytest.raises(StoreError, match=r"cannot list s3://lake/ at http://nowhere\.invalid: "):
        _keys(place)


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (Reply(b"<html>", 404), NotFound, "HTTP 404"),
        (Reply(b"", 403), CredentialsRefused, "HTTP 403"),
        (
            Reply(
                b"<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>",
                301,
                {"x-amz-bucket-region": "eu-west-1", "Location": "http://127.0.0.1:1/"},
            ),
            StoreError,
            "PermanentRedirect: Elsewhere.; the bucket is in eu-west-1 (set REGION_NAME",
        ),
        (
            Reply(
                b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>",
                400,
            ),
            StoreError,
            "AuthorizationHeaderMalformed: the bucket is in eu-west-1 (set REGION_NAME",
        ),
        (
            Reply(b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", 403),
            CredentialsRefused,
            "AccessDenied: No. (the key may lack",
        ),
        (Reply(b"<Error><Code>ExpiredToken</Code></Error>", 400), CredentialsRefused, "Expired"),
    ],
)
def test_a_refusal_is_final(reply: Reply, kind: type[IngestError], said: str) -> None:
    with _peer(_in_turn(reply)) as peer:
        error = _error(peer.place())
        assert type(error) is kind
        assert said in str(error)
        assert len(peer.asked) == 1


def test_errors_of_answers() -> None:
    assert str(error_of("cannot", "NoSuchKey", "gone", 404)) == "cannot: NoSuchKey: gone"
    assert type(error_of("cannot", "NoSuchBucket", "", 404)) is BucketNotFound
    assert type(error_of("cannot", "SignatureDoesNotMatch", "", 403)) is CredentialsRefused
    assert type(error_of("cannot", "", "refused", 0)) is StoreError


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint_url", "region", "path_style", "address"),
    [
        (None, "eu-west-1", True, "https://s3.eu-west-1.amazonaws.com/lake"),
        (None, "eu-west-1", False, "https://lake.s3.eu-west-1.amazonaws.com/"),
        (None, "cn-north-1", True, "https://s3.cn-north-1.amazonaws.com.cn/lake"),
        ("http://[::1]:9000/", "us-east-1", True, "http://[::1]:9000/lake"),
        ("https://host/s3/", "us-east-1", True, "https://host/s3/lake"),
        ("https://ams3.example.com", "us-east-1", False, "https://lake.ams3.example.com/"),
    ],
)
def test_addresses(endpoint_url: str | None, region: str, path_style: bool, address: str) -> None:  # noqa: FBT001
    style = ListingStyle(path_style=path_style)
    assert _address(Place("lake", lambda: _KEY, endpoint_url, region, style)) == address


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with _peer(Honest(["a"])) as peer:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{peer.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert _keys(peer.place(endpoint_url="http://store.invalid")) == ["a"]
        assert _keys(peer.place()) == ["a"]
        through_proxy, direct = peer.targets
        assert through_proxy.startswith("http://store.invalid/lake?")
        assert direct.startswith("/lake?")


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    _self_signed(key, certificate)
    waits: list[float] = []
    with _peer(_in_turn(_PAGE)) as peer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        url = f"https://127.0.0.1:{peer.server_port}"
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
            _keys(peer.place(endpoint_url=url, wait=waits.append))
    assert waits == []


def _self_signed(key_file: Path, certificate_file: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(encoding, *plain))
    certificate_file.write_bytes(certificate.public_bytes(encoding))
