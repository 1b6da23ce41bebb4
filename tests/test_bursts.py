"""Small objects that are sent or fetched together: each has an end of its own."""

from __future__ import annotations

import hashlib
import threading
from contextlib import closing
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer, DropAnswer, FaultProxy, Rule
from ingest.files.landing import Landing
from ingest.settings import AccessKey
from ingest.storage.answers import Failed
from ingest.storage.api import Api, Request
from ingest.storage.base import PLAIN, Entry, GetItem, PutItem
from ingest.storage.bulk import bursts
from ingest.storage.wire import Wire
from runs import files
from stores import contents, fill, store_of
from tinys3 import Answer as Told
from tinys3 import Asked, refusal, serve

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

    from ingest.storage.reply import Reply
    from support import S3Server

TOGETHER = replace(PLAIN, threads=8)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.storage.attempts.Stop.pause", lambda *_: None)


def test_answers_are_in_the_order_of_the_requests_whatever_they_are() -> None:
    def answer(asked: Asked) -> Told:
        if asked.path.endswith("2"):
            return refusal(404, "NoSuchKey")
        return Told(body=asked.path[-1:].encode())

    requests = [Request("GET", f"k{number}", {}, {}) for number in range(5)]
    with serve(answer) as url, closing(Api(f"{url}/b", "r", lambda: AccessKey("a", "b"))) as api:
        for _ in range(2):
            answers = api.burst(requests)
            bodies = [None if isinstance(each, Failed) else each.body for each in answers]
            assert bodies == [b"0", b"1", None, b"3", b"4"]
            assert isinstance(answers[2], Failed)
            assert answers[2].code == "NoSuchKey"


def burst(url: str, count: int, answer_s: float = 60.0) -> list[str | None]:
    """What ``count`` objects are, by one burst; None for those that failed and may come later."""
    requests = [Request("GET", f"k{number}", {}, {}) for number in range(count)]
    key = AccessKey("a", "b")
    with closing(Api(f"{url}/b", "r", lambda: key, answer_s=answer_s)) as api:
        answers = api.burst(requests)
    assert all(each.passes for each in answers if isinstance(each, Failed))
    return [None if isinstance(each, Failed) else each.body.decode() for each in answers]


def test_a_store_that_stalls_is_waited_for_once_and_not_once_an_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release, answering = threading.Event(), threading.Event()
    hurried: list[Wire] = []
    answered, hurry = Wire.answer, Wire.hurry

    def answer(asked: Asked) -> Told:
        if not asked.path.endswith("5"):
            assert release.wait(60)
        answering.set()
        return Told(body=b"at once")

    def once_it_is_there(wire: Wire) -> Reply:
        assert answering.wait(60)
        return answered(wire)

    def counted(wire: Wire) -> None:
        hurried.append(wire)
        hurry(wire)

    monkeypatch.setattr(Wire, "answer", once_it_is_there)
    monkeypatch.setattr(Wire, "hurry", counted)
    with serve(answer) as url:
        assert burst(url, 6, answer_s=0.5) == [None] * 5 + ["at once"]
        release.set()
    assert len(hurried) == 5


def test_a_store_that_is_slow_but_answers_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer takes a thousand seconds, by this clock."""
    clock = SimpleNamespace(monotonic=count(0, 1_000).__next__)
    monkeypatch.setattr("ingest.storage.api.time", clock)
    with serve(lambda asked: Told(body=asked.path[-1])) as url:
        assert burst(url, 4) == ["0", "1", "2", "3"]


def test_where_nobody_answers_a_connection_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def connect(*where: object) -> NoReturn:
        tried.append(where)
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", connect)
    monkeypatch.setattr("ingest.storage.api.CONNECT_S", 0.0)
    assert burst("http://127.0.0.1:9", 4) == [None] * 4
    assert len(tried) == 1


def test_small_items_are_together_and_others_alone() -> None:
    items = [1, 1, 9, 1, 1, 1, 1, 9, 9, 1]
    found = list(bursts(items, 3, lambda item: item == 1))
    assert found == [[1, 1], [9], [1, 1, 1], [1], [9], [9], [1]]


def test_what_fails_in_a_burst_is_tried_again_and_the_rest_is_not(
    rclone_server: S3Server, tmp_path: Path
) -> None:
    items = [PutItem(f"k{number}", b"%d" % number, "text/plain", {}) for number in range(8)]
    with FaultProxy(rclone_server.endpoint_url) as proxy:
        store = store_of(rclone_server, endpoint_url=proxy.endpoint_url)
        proxy.rules += [
            Rule(Answer(503), "PUT", "k1"),
            Rule(DropAnswer(20), "PUT", "k2"),
            Rule(Answer(403, "AccessDenied"), "PUT", "k3", times=None),
        ]
        done = {each.key: each.error for each in store.put_many(items, TOGETHER)}
        assert [key for key, error in done.items() if error] == ["k3"]
        assert "AccessDenied" in str(done["k3"])
        tries = {key: len(proxy.seen("PUT", key)) for key in done}
        assert tries == dict.fromkeys(done, 1) | {"k1": 2, "k2": 2}
        entries = [Entry(key, 1, 0.0, None) for key in sorted(done) if key != "k3"]
        proxy.rules += [Rule(Answer(503), "GET", "k5"), Rule(DropAnswer(30), "GET", "k6")]
        with Landing(tmp_path) as landing:
            wanted = [GetItem(entry, entry.key) for entry in entries]
            came = list(store.get_many(wanted, landing, TOGETHER))
        assert contents(store) == files(tmp_path)
    assert not [each for each in came if each.error]
    assert files(tmp_path) == {entry.key: entry.key[1:].encode() for entry in entries}


def test_a_file_that_is_gone_or_another_by_now_fails_alone(
    rclone_server: S3Server, tmp_path: Path
) -> None:
    items = []
    for number in range(6):
        path = tmp_path / f"f{number}"
        path.write_bytes(b"content")
        items.append(PutItem(path.name, path, "text/plain", {}, path.stat()))
    (tmp_path / "f1").unlink()
    (tmp_path / "f4").write_bytes(b"longer content")
    store = store_of(rclone_server)
    done = {each.key: each.error for each in store.put_many(items, TOGETHER)}
    assert {key for key, error in done.items() if error} == {"f1", "f4"}
    assert contents(store).keys() == {"f0", "f2", "f3", "f5"}


def test_an_object_that_is_another_by_now_fails_alone(
    rclone_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(rclone_server)
    fill(store, {f"k{number}": b"content" for number in range(6)})
    entries = [replace(entry, size=3) if entry.key == "k2" else entry for entry in store.list()]
    with Landing(tmp_path) as landing:
        wanted = [GetItem(entry, entry.key) for entry in entries]
        done = {each.key: each.error for each in store.get_many(wanted, landing, TOGETHER)}
    assert [key for key, error in done.items() if error] == ["k2"]
    assert "7 bytes, but 3" in str(done["k2"])
    assert files(tmp_path).keys() == done.keys() - {"k2"}


def test_what_is_there_already_stays_and_is_told(rclone_server: S3Server) -> None:
    """Of a store that heeds the condition, which rclone's server does not."""
    there = {"k1": b"old"}

    def answer(asked: Asked) -> Told:
        key = asked.path.rpartition("/")[2]
        if key in there:
            return refusal(412, "PreconditionFailed")
        there[key] = asked.body
        etag = hashlib.md5(asked.body, usedforsecurity=False).hexdigest()
        return Told(headers={"ETag": f'"{etag}"'})

    items = [PutItem(f"k{number}", b"new", "text/plain", {}) for number in range(4)]
    how = replace(TOGETHER, overwrite=False)
    with serve(answer) as url:
        done = {
            each.key: each
            for each in store_of(rclone_server, endpoint_url=url).put_many(items, how)
        }
    assert [key for key, each in sorted(done.items()) if each.existed] == ["k1"]
    assert not [each for each in done.values() if each.error]
    assert there == {"k0": b"new", "k1": b"old", "k2": b"new", "k3": b"new"}
