"""Large objects come in parts, in any order, and land only if they are what the store has."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer as Refuse
from faultproxy import DropAnswer, FaultProxy, Rule, StallAnswer
from ingest.errors import CredentialsRefused
from ingest.files.landing import Landing
from ingest.settings import AccessKey
from ingest.storage import attempts, receiving, receiving_parts
from ingest.storage.base import Entry, GetItem, Outcome, Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.etags import etag_of_chunks
from ingest.storage.s3 import S3Store
from runs import files
from tinys3 import Answer, Asked, certify, refusal, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PART = 10_000
SIZE = 9 * PART + 1_234
CONTENT = Random(1).randbytes(SIZE)  # noqa: S311 - content, no secret
SENT_IN = 20_000
"""The size of the parts in which the object was uploaded, where it was."""
NO_HEADERS: dict[str, str] = {}
ALONE = {"Connection": "close"}
"""What a store says behind the proxy, which carries one request a connection."""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving, "LARGE", PART)
    monkeypatch.setattr(receiving, "_PART", PART)
    monkeypatch.setattr(receiving_parts, "_PIECE", 3_000)
    monkeypatch.setattr(attempts, "_PAUSES_S", (0.001,) * 4)


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def in_parts(size: int) -> str:
    return etag_of_chunks([CONTENT], size)


@dataclass
class Served:
    """A store with one object, of which each part of an answer is a field."""

    etag: str = md5(CONTENT)
    content: bytes = CONTENT
    part_size: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    knows_ranges: bool = True
    before: Callable[[int], object] = lambda _: None
    asked: list[int] = field(default_factory=list)
    conditions: set[str] = field(default_factory=set)

    def __call__(self, asked: Asked) -> Answer:
        headers = {"ETag": f'"{self.etag}"', "Last-Modified": "Fri, 20 Nov 2020 06:00:00 GMT"}
        headers |= self.headers
        if asked.method == "HEAD":
            first = self.part_size if "partNumber" in asked.query else None
            return Answer(body=self.content[:first], headers=headers)
        condition = asked.headers.get("if-match", "none")
        self.conditions.add(condition)
        if condition not in {f'"{self.etag}"', "none"}:
            return refusal(412, "PreconditionFailed")
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        self.asked.append(first // PART)
        self.before(first // PART)
        if not self.knows_ranges:
            return Answer(body=self.content, headers=headers)
        headers.setdefault("Content-Range", f"bytes {first}-{last}/{SIZE}")
        return Answer(200, self.content[first : last + 1], headers)  # as rclone's server says


def fetch(
    url: str, target: Path, etag: str | None, how: Transfer | None = None, provider: str = "other"
) -> Outcome:
    store = S3Store(
        "b", Clients(Connection(url, "us-east-1", AccessKey("key", "secret"), provider=provider))
    )
    with Landing(target) as landing:
        item = GetItem(Entry("large", SIZE, 1_600_000_000.0, etag), "large")
        (outcome,) = store.get_many([item], landing, how or Transfer())
    return outcome


def flipped(at: int) -> bytes:
    content = bytearray(CONTENT)
    content[at] ^= 1
    return bytes(content)


SHA256 = {"x-amz-meta-sha256": hashlib.sha256(CONTENT).hexdigest()}
TOLD = {
    "whole": Served(),
    "parts": Served(in_parts(SENT_IN), part_size=SENT_IN),
    "parts-too-large-to-fetch": Served(in_parts(5 * PART), part_size=5 * PART),
    "one-part": Served(in_parts(SIZE)),
    "sha256-for-parts": Served(in_parts(SENT_IN), headers=SHA256),
    "sha256-for-nothing": Served("opaque", headers=SHA256),
}
UNTOLD = {
    "parts-of-unknown-size": Served(in_parts(SENT_IN)),
    "parts-of-another-size": Served(in_parts(SENT_IN), part_size=PART),
    "opaque": Served("opaque"),
    "encrypted": Served(md5(b""), headers={"x-amz-server-side-encryption": "aws:kms"}),
    "encrypted-parts": Served(
        f"{md5(b'')}-5", part_size=SENT_IN, headers={"x-amz-server-side-encryption": "aws:kms"}
    ),
}


@pytest.mark.parametrize("kind", [*TOLD, *UNTOLD])
def test_lands_byte_for_byte(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiving_parts, "_LARGEST_PART", SENT_IN)
    served = {**TOLD, **UNTOLD}[kind]
    moved: list[int] = []
    with serve(served) as url:
        outcome = fetch(url, tmp_path, served.etag, Transfer(moved=moved.append))
    assert (outcome.error, outcome.size, sum(moved)) == (None, SIZE, SIZE)
    assert files(tmp_path) == {"large": CONTENT}
    assert (tmp_path / "large").stat().st_mtime == 1_600_000_000.0
    assert served.conditions == {f'"{served.etag}"'}


@pytest.mark.parametrize("at", [0, SIZE // 2, SIZE - 1])
@pytest.mark.parametrize("kind", TOLD)
def test_other_bytes_never_land_where_the_store_tells_a_hash(
    kind: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving_parts, "_LARGEST_PART", SENT_IN)
    told = TOLD[kind]
    wrong = Served(told.etag, flipped(at), told.part_size, told.headers)
    with serve(wrong) as url:
        outcome = fetch(url, tmp_path, told.etag)
        assert "what came has the hash" in str(outcome.error)
        assert files(tmp_path) == {}
        wrong.content = CONTENT
        assert fetch(url, tmp_path, told.etag).error is None
    assert files(tmp_path) == {"large": CONTENT}


def test_an_etag_of_parts_tells_nothing_where_a_store_has_others(tmp_path: Path) -> None:
    served = Served(f"{md5(b'random')}-5", part_size=SENT_IN)
    with serve(served) as url:
        assert "what came" in str(fetch(url, tmp_path, served.etag).error)
        assert fetch(url, tmp_path, served.etag, provider="r2").error is None


def test_parts_may_come_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part comes last of those that memory is there for."""
    monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", 3)
    others = threading.Semaphore(0)

    def before(number: int) -> None:
        if number:
            others.release()
        else:
            for _ in range(2 + receiving_parts._WAITING):
                assert others.acquire(timeout=30)

    served = Served(before=before)
    with serve(served) as url:
        assert fetch(url, tmp_path, served.etag).error is None
    assert files(tmp_path) == {"large": CONTENT}
    assert sorted(served.asked) == list(range(10))


@pytest.mark.parametrize("kind", ["whole", "parts"])
def test_memory_is_bounded(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    part, size, threads = 1 << 20, 40 << 20, 3
    monkeypatch.setattr(receiving, "_PART", part)
    monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", threads)
    content = bytes(size)
    etag = etag_of_chunks([content], None if kind == "whole" else 10 * part)

    def answer(asked: Asked) -> Answer:
        headers = {"ETag": f'"{etag}"'}
        if asked.method == "HEAD":
            return Answer(body=memoryview(content)[: 10 * part], headers=headers)  # type: ignore[arg-type]
        first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return Answer(206, memoryview(content)[first : last + 1], headers)  # type: ignore[arg-type]

    with serve(answer) as url, Landing(tmp_path) as landing:
        store = S3Store("b", Clients(Connection(url, "us-east-1", AccessKey("key", "secret"))))
        tracemalloc.start()
        (outcome,) = store.get_many([GetItem(Entry("a", size, 0.0, etag), "a")], landing)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert outcome.error is None
    assert peak < (threads + receiving_parts._WAITING + 2) * part


class TestResume:
    @pytest.fixture(autouse=True)
    def _one_part_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", 1)

    @pytest.mark.parametrize("kind", ["whole", "parts"])
    def test_what_an_earlier_run_left_is_hashed_too(self, kind: str, tmp_path: Path) -> None:
        served = Served(TOLD[kind].etag, part_size=TOLD[kind].part_size, headers=ALONE)
        gone = Rule(Refuse(400, "Gone", "No."), "GET", skip=2, times=None)
        with serve(served) as url, FaultProxy(url, [gone]) as proxy:
            assert "Gone: No." in str(fetch(proxy.endpoint_url, tmp_path, served.etag).error)
            (partial,) = tmp_path.iterdir()
            proxy.rules.clear()
            served.asked.clear()
            assert fetch(proxy.endpoint_url, tmp_path, served.etag).error is None
        assert served.asked == ([*range(2, 10)] if kind == "whole" else [4, 6, 8])
        assert files(tmp_path) == {"large": CONTENT}
        assert not partial.exists()

    @pytest.mark.parametrize("kind", ["whole", "parts"])
    def test_what_somebody_changed_of_it_is_found(self, kind: str, tmp_path: Path) -> None:
        served = Served(TOLD[kind].etag, part_size=TOLD[kind].part_size, headers=ALONE)
        gone = Rule(Refuse(400, "Gone", "No."), "GET", skip=3, times=None)
        with serve(served) as url, FaultProxy(url, [gone]) as proxy:
            fetch(proxy.endpoint_url, tmp_path, served.etag)
            (partial,) = tmp_path.iterdir()
            content = partial.read_bytes()
            partial.write_bytes(bytes([content[0] ^ 1]) + content[1:])
            proxy.rules.clear()
            failed = fetch(proxy.endpoint_url, tmp_path, served.etag)
            assert "what came has the hash" in str(failed.error)
            assert fetch(proxy.endpoint_url, tmp_path, served.etag).error is None
        assert files(tmp_path) == {"large": CONTENT}


class TestFaults:
    @pytest.mark.parametrize(
        "action",
        [
            Refuse(503),
            Refuse(500, "InternalError"),
            DropAnswer(),
            DropAnswer(after=100),  # within its head
            DropAnswer(after=5_000),
        ],
        ids=repr,
    )
    def test_a_part_is_asked_for_again(self, tmp_path: Path, action: Refuse | DropAnswer) -> None:
        served = Served(headers=ALONE)
        fault = Rule(action, "GET", skip=2, times=3)
        with serve(served) as url, FaultProxy(url, [fault]) as proxy:
            assert fetch(proxy.endpoint_url, tmp_path, served.etag).error is None
            assert len(proxy.seen("GET")) == 13
        assert files(tmp_path) == {"large": CONTENT}

    @pytest.mark.parametrize("action", [Refuse(503), DropAnswer(), DropAnswer(after=100)], ids=repr)
    def test_a_hash_is_asked_for_again(self, tmp_path: Path, action: Refuse | DropAnswer) -> None:
        told = TOLD["parts"]
        wrong = Served(told.etag, flipped(0), told.part_size, dict(ALONE))
        with serve(wrong) as url, FaultProxy(url, [Rule(action, "HEAD", times=2)]) as proxy:
            outcome = fetch(proxy.endpoint_url, tmp_path, told.etag)
        assert "what came has the hash" in str(outcome.error)
        assert files(tmp_path) == {}

    def test_a_part_that_always_fails_is_told(self, tmp_path: Path) -> None:
        served = Served(headers=ALONE)
        fault = Rule(Refuse(503), "GET", skip=2, times=None)
        with serve(served) as url, FaultProxy(url, [fault]) as proxy:
            outcome = fetch(proxy.endpoint_url, tmp_path, served.etag)
            where = f"cannot read s3://b/large at {proxy.endpoint_url}: SlowDown: Please reduce"
        assert str(outcome.error).startswith(where)

    def test_refused_credentials_are_told_as_such(self, tmp_path: Path) -> None:
        fault = Rule(Refuse(403, "AccessDenied", "No."), "GET")
        with serve(Served(headers=ALONE)) as url, FaultProxy(url, [fault]) as proxy:
            outcome = fetch(proxy.endpoint_url, tmp_path, md5(CONTENT))
        assert isinstance(outcome.error, CredentialsRefused)
        assert "large" not in files(tmp_path)

    @pytest.mark.parametrize("heeds_conditions", [True, False])
    def test_an_object_that_changes_meanwhile_never_lands_mixed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, heeds_conditions: bool
    ) -> None:
        monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", 1)
        served = Served()

        def change(number: int) -> None:
            if number == 3:
                served.etag, served.content = md5(flipped(0)), flipped(0)

        served.before = change
        listed = served.etag
        with serve(served) as url:
            outcome = fetch(url, tmp_path, listed)
            if not heeds_conditions:
                served.headers["ETag"] = f'"{served.etag}"'
                served.etag = listed
                outcome = fetch(url, tmp_path, listed)
        assert "it has changed since it was listed" in str(outcome.error)
        assert "large" not in files(tmp_path)

    @pytest.mark.parametrize(
        "headers",
        [NO_HEADERS, {"Content-Range": f"bytes 0-{PART - 1}/{SIZE}"}],
        ids=["no-ranges", "another-range"],
    )
    def test_other_bytes_than_were_asked_for_are_an_error(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        served = Served(headers=headers, knows_ranges=bool(headers))
        with serve(served) as url:
            outcome = fetch(url, tmp_path, served.etag)
        assert "the store sent others" in str(outcome.error)
        assert "large" not in files(tmp_path)

    def test_more_bytes_than_were_asked_for_are_an_error(self, tmp_path: Path) -> None:
        def longer(asked: Asked) -> Answer:
            answer = Served()(asked)
            return Answer(answer.status, bytes(answer.body) + b"x", answer.headers)  # type: ignore[arg-type]

        with serve(longer) as url:
            outcome = fetch(url, tmp_path, md5(CONTENT))
        assert "more came than was asked for" in str(outcome.error)
        assert "large" not in files(tmp_path)


@pytest.mark.parametrize("keep", [True, False])
def test_cancelling_ends_it_also_while_parts_wait_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, keep: bool
) -> None:
    monkeypatch.setattr(receiving, "_PARTS_AT_ONCE", 3)
    cancelled, never = threading.Event(), threading.Event()
    served = Served(headers=ALONE)
    how = Transfer(cancelled=cancelled, keep_cancelled=keep)
    outcomes: list[Outcome] = []
    with serve(served) as url, FaultProxy(url) as proxy:
        proxy.rules.append(Rule(StallAnswer(never, after=500), "GET", times=1))
        work = threading.Thread(
            target=lambda: outcomes.append(fetch(proxy.endpoint_url, tmp_path, served.etag, how))
        )
        work.start()
        # As many as memory is there for; then the others wait. Where another part was faster and
        # stalls, the first makes room for one more.
        proxy.wait_until(lambda: len(proxy.requests) >= 3 + receiving_parts._WAITING)
        cancelled.set()
        work.join(30)
        never.set()
    (outcome,) = outcomes
    assert "the transfer was stopped" in str(outcome.error)
    assert bool(files(tmp_path)) is keep


def test_comes_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certify(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.authority))
    with serve(Served(), certificate) as url:
        assert fetch(url, tmp_path / "to", md5(CONTENT)).error is None
    assert files(tmp_path / "to") == {"large": CONTENT}


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path: Path) -> Iterator[None]:
    """No thread of ours outlives what it was for by long."""
    yield
    for thread in threading.enumerate():
        if thread.name == "hash":
            thread.join(30)
            assert not thread.is_alive()
    assert tmp_path
