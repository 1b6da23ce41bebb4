"""Listings of stores that cannot be trusted, fail, or are somewhere else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest.errors import BucketNotFound, CredentialsRefused, IngestError, NotFound, StoreError
from ingest.pacing import Backoff
from ingest.storage.answers import error_of
from ingest.storage.listing import list_directory, list_objects
from ingest.storage.pages import ListingStyle, Place
from listings import KEY, Honest, Reply, failure_of, in_turn, keys_of, served, xml_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


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

    with served(resolve) as peer:
        assert keys_of(peer.place()) == _TEN
        assert len(peer.asked) < 12


def _with_token(page: bytes, token: str) -> bytes:
    head, _, rest = page.partition(b"<NextContinuationToken>")
    _, _, tail = rest.partition(b"</NextContinuationToken>")
    element = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return head + element.encode() + tail


def test_a_missing_token_is_done_without() -> None:
    honest = Honest(_TEN, 3)
    with served(lambda query: _with_token(honest(query), "")) as peer:
        assert keys_of(peer.place()) == _TEN
        assert [query.get("start-after") for query in peer.asked] == [None, "k2", "k5", "k8"]


def test_a_missing_token_in_a_directory() -> None:
    honest = Honest(["a", "b/1", "b/2", "c/1", "d/1"], 2)

    def within(
        query: dict[str, str],
    ) -> bytes:  # StartAfter "b/" finds what is in it, and so folds it again
        if query.get("start-after", "").endswith("/"):
            query = query | {"start-after": query["start-after"][:-1]}
        return _with_token(honest(query), "")

    with served(within) as peer:
        names = [item.key for item in list_directory(peer.place())]
    assert names == ["a", "b/", "c/", "d/"]


@pytest.mark.parametrize("where", ["k0", "k1"])
def test_a_token_that_leads_back_is_left_for_the_last_key(where: str) -> None:
    honest = Honest(_TEN, 3)

    def back(query: dict[str, str]) -> bytes:
        token = query.get("continuation-token")
        return honest(query if token is None else {"list-type": "2", "start-after": where})

    with served(back) as peer:
        assert keys_of(peer.place()) == _TEN


def test_a_store_that_always_answers_with_the_first_page() -> None:
    first = xml_of(["a", "b"], more="true", token="T")
    with served(in_turn(first)) as peer:
        assert "asked for what comes after 'b', got 'a'" in str(failure_of(peer.place()))
        asked = [query.get("start-after") for query in peer.asked]
        assert asked[:3] == [None, None, "b"]


@pytest.mark.parametrize("version", [1, 2])
def test_more_without_a_way_to_come_to_it(version: Any) -> None:
    with served(in_turn(xml_of(more="true"))) as peer:
        error = failure_of(peer.place(style=ListingStyle(version=version)))
        assert "said to be more" in str(error)
        assert len(peer.asked) == 1


def test_an_empty_page_that_repeats_its_token() -> None:
    first, second = xml_of(["a"], more="true", token="T"), xml_of(more="true", token="T")
    with served(in_turn(first, second)) as peer:
        assert "said to be more" in str(failure_of(peer.place()))
        assert len(peer.asked) == 2


def test_empty_pages_are_passed_over() -> None:
    empty = [xml_of(more="true", token=f"T{number}") for number in range(20)]
    with served(in_turn(*empty, xml_of(["a"]))) as peer:
        assert keys_of(peer.place()) == ["a"]


def test_empty_pages_for_ever() -> None:
    tokens = (f"T{number}" for number in range(10_000))
    with served(lambda _: xml_of(more="true", token=next(tokens))) as peer:
        assert "100 pages without a new key" in str(failure_of(peer.place()))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (xml_of(["a", "c", "b"]), "not in order: 'c', then 'b'"),
        (xml_of(["a", "a"]), "not in order: 'a', then 'a'"),
        (xml_of(["😀", "\uffff"]), "not in order"),  # the order of UTF-16
        (xml_of(["a", ""]), "not in order"),
        (xml_of([f"{n:04}" for n in range(1_001)]), "1,001 names on a page"),
        (xml_of(["a"], prefixes=["b/"]), "not asked for"),
        (xml_of(["a"], more=None), "does not say whether there is more"),
        (xml_of(["a"], more="maybe"), "does not say whether there is more"),
        (xml_of(["a"]).replace(b"<Size>7</Size>", b""), "cannot be read"),
        (xml_of(["a"]).replace(b"2026-01-02T", b"yesterday"), "cannot be read"),
        (xml_of(["a\x01"], encode=str), "no XML"),
        (xml_of(["a"]).replace(b"</Key>", b"</Kee>"), "no XML"),
        (b"<html><body>Welcome</body></html>", "no listing, but <html>"),
        (b"<!doctype html><html><br></body>", "no XML"),
        (b"It works!", "no XML"),
        (b" " * (17 * 1_048_576), "more than 16,777,216 bytes"),
    ],
)
def test_a_page_that_cannot_be_trusted(page: bytes, said: str) -> None:
    with served(in_turn(page)) as peer:
        error = failure_of(peer.place())
        assert type(error) is StoreError
        assert said in str(error)
        assert len(peer.asked) == 1


@pytest.mark.parametrize("key", ["database/x", "data", "data!"])
def test_a_key_outside_of_the_prefix(key: str) -> None:
    with served(in_turn(xml_of(sorted(["data/x", key])))) as peer:
        assert f"{key!r} is outside of the prefix" in str(failure_of(peer.place(), "data/"))


def test_pages_before_the_fault_are_yielded() -> None:
    first, second = xml_of(["a", "b"], more="true", token="T"), xml_of(["d", "c"])
    with served(in_turn(first, second)) as peer:
        listing = list_objects(peer.place())
        assert [next(listing).key, next(listing).key] == ["a", "b"]
        with pytest.raises(StoreError, match="not in order"):
            next(listing)


# --- failures on the way --------------------------------------------------------------------------

_PAGE = xml_of(["a", "b"])
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
    with served(in_turn(Reply(b"", 503), *[_PASSING[failure]] * 5, _PAGE)) as peer:
        backoff = Backoff(retries=6, base_s=1, cap_s=8)
        assert keys_of(peer.place(backoff=backoff, wait=waits.append)) == ["a", "b"]
    assert [
        whole / 2 <= wait <= whole for wait, whole in zip(waits, [1, 2, 4, 8, 8, 8], strict=True)
    ]
    assert len(peer.asked) == 7


@pytest.mark.parametrize("failure", _PASSING)
def test_retries_are_used_up_at_last(failure: str) -> None:
    first = xml_of(["a"], more="true", token="T")
    with served(in_turn(first, _PASSING[failure])) as peer:
        error = failure_of(peer.place(backoff=Backoff(retries=3)))
        assert isinstance(error, StoreError)
        assert not isinstance(error, NotFound)
        assert len(peer.asked) == 1 + 4


def test_what_a_store_asks_for_is_waited_for() -> None:
    waits: list[float] = []
    busy = Reply(status=503, headers={"Retry-After": "7"})
    longer = Reply(status=503, headers={"Retry-After": "86400"})
    with served(in_turn(busy, longer, _PAGE)) as peer:
        assert keys_of(peer.place(wait=waits.append)) == ["a", "b"]
    assert waits == [7.0, 60.0]


def test_a_slow_down_says_so() -> None:
    with served(in_turn(Reply(_SLOW, 503))) as peer:
        assert "SlowDown: Please reduce your request rate." in str(failure_of(peer.place()))


def test_an_endpoint_that_never_answers_is_given_up_soon() -> None:
    waits: list[float] = []
    with served(in_turn(_PAGE)) as peer:
        place = peer.place(wait=waits.append)
    assert "Connection refused" in str(failure_of(place))
    assert len(waits) == 2


def test_a_host_that_does_not_exist() -> None:
    place = Place("lake", lambda: KEY, "http://nowhere.invalid", wait=lambda _: None)
    with pytest.raises(StoreError, match=r"cannot list s3://lake/ at http://nowhere\.invalid: "):
        keys_of(place)


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
    with served(in_turn(reply)) as peer:
        error = failure_of(peer.place())
        assert type(error) is kind
        assert said in str(error)
        assert len(peer.asked) == 1


def test_errors_of_answers() -> None:
    assert str(error_of("cannot", "NoSuchKey", "gone", 404)) == "cannot: NoSuchKey: gone"
    assert type(error_of("cannot", "NoSuchBucket", "", 404)) is BucketNotFound
    assert type(error_of("cannot", "SignatureDoesNotMatch", "", 403)) is CredentialsRefused
    assert type(error_of("cannot", "", "refused", 0)) is StoreError


# --- addresses ------------------------------------------------------------------------------------


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Honest(["a"])) as peer:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{peer.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert keys_of(peer.place(endpoint_url="http://store.invalid")) == ["a"]
        assert keys_of(peer.place()) == ["a"]
        through_proxy, direct = peer.targets
        assert through_proxy.startswith("http://store.invalid/lake?")
        assert direct.startswith("/lake?")


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    _self_signed(key, certificate)
    waits: list[float] = []
    with served(in_turn(_PAGE)) as peer:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        peer.socket = context.wrap_socket(peer.socket, server_side=True)
        url = f"https://127.0.0.1:{peer.server_port}"
        with pytest.raises(StoreError, match="certificate is not trusted"):
            keys_of(peer.place(endpoint_url=url, wait=waits.append))
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
