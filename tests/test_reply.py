"""Answers of HTTP/1.1: whole, in chunks, until the end, or not all there."""

from __future__ import annotations

import io
import socket
import threading
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.storage.reply import Reply, Unreachable
from ingest.storage.wire import Wire

OK = b"HTTP/1.1 200 OK\r\n"


def reply(data: bytes, method: str = "GET") -> Reply:
    return Reply(io.BufferedReader(io.BytesIO(data)), method)  # type: ignore[arg-type]


def chunked(pieces: list[bytes], trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n" + trailer + b"\r\n"


PIECES = st.lists(st.binary(min_size=1, max_size=30), max_size=5)


@given(PIECES, st.integers(1, 50))
def test_chunks_are_put_together(pieces: list[bytes], most: int) -> None:
    found = reply(chunked(pieces, b"X-Trailer: 1\r\n"))
    read = b"".join(iter(lambda: found.read(most), b""))
    assert read == b"".join(pieces)
    assert found.ended
    assert found.persistent


@given(PIECES, st.data())
def test_an_answer_in_chunks_that_is_cut_is_never_whole(
    pieces: list[bytes], data: st.DataObject
) -> None:
    whole = chunked(pieces)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Unreachable, match=r"cut short|hung up"):
        reply(cut).read(1_000)


@given(st.binary(max_size=50), st.data())
def test_an_answer_of_known_length_that_is_cut_is_never_whole(
    body: bytes, data: st.DataObject
) -> None:
    whole = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert reply(whole).read(1_000) == body
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Unreachable, match=r"cut short|hung up"):
        reply(cut).read(1_000)
    with pytest.raises(Unreachable, match=r"cut short|hung up"):
        reply(cut).fill(memoryview(bytearray(len(body) + 1)))


@given(PIECES)
def test_memory_is_filled_exactly_over_chunks(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    memory = bytearray(len(body))
    found = reply(chunked(pieces))
    found.fill(memoryview(memory))
    assert bytes(memory) == body
    assert found.at_end()


def test_more_than_was_asked_for_is_seen() -> None:
    found = reply(OK + b"Content-Length: 3\r\n\r\nabc")
    found.fill(memoryview(bytearray(2)))
    assert not found.ended
    assert not found.at_end()


def test_without_a_length_the_body_ends_with_the_connection() -> None:
    found = reply(OK + b"\r\nall of it")
    assert found.read(1_000) == b"all of it"
    assert found.ended
    assert not found.persistent


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_some_answers_have_no_body_whatever_length_they_tell(method: str, status: int) -> None:
    found = reply(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status, method)
    assert found.read(10) == b""
    assert found.ended
    assert found.headers["content-length"] == "5"


def test_what_only_says_to_wait_is_passed_over() -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    found = reply(early + OK + b"Content-Length: 1\r\n\r\nx")
    assert (found.status, found.read(9)) == (200, b"x")
    assert "link" not in found.headers
    with pytest.raises(Unreachable, match="again and again"):
        reply(b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000 + OK + b"\r\n")


@pytest.mark.parametrize(
    ("head", "persistent"),
    [
        (OK + b"Content-Length: 0\r\n\r\n", True),
        (OK + b"Content-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_whether_another_answer_may_follow(head: bytes, persistent: bool) -> None:  # noqa: FBT001 - a parameter
    assert reply(head).persistent is persistent


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_headers_by_name_in_any_case_and_of_several_lines(end: bytes) -> None:
    head = [b"HTTP/1.1 200 OK", b'ETag:"a"', b"x-Amz-Meta-A:  1 ", b"X-AMZ-META-a: 2", b"  more"]
    found = reply(end.join([*head, b"", b""]))
    assert found.headers == {"etag": '"a"', "x-amz-meta-a": "1, 2 more"}


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: five\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nabcde\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabcde\r\n0\r\n\r\n",
        OK + b"X: " + b"x" * 300_000 + b"\r\n\r\n",
        OK + b"X: y\r\n" * 50_000 + b"\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(Unreachable) as caught:
        reply(answer).read(1_000)
    assert not caught.value.is_final


# Requests


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\rb"])
def test_no_header_can_bring_another(value: str) -> None:
    with closing(Wire("http://127.0.0.1:1")) as wire, pytest.raises(Unreachable) as caught:
        wire.send("GET", "http://127.0.0.1:1/b", {"x": value})
    assert "line break" in str(caught.value)
    assert caught.value.is_final


def test_a_refusal_before_all_was_sent_is_what_is_told() -> None:
    refusal = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    gone = threading.Event()

    def blocks() -> list[bytes]:
        gone.wait(30)
        return [b"x" * 65_536] * 200

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(refusal)
                connection.shutdown(socket.SHUT_RDWR)
            gone.set()

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with closing(Wire(url)) as wire:
            body = (block for _ in range(1) for block in blocks())
            wire.send("PUT", f"{url}/b", {"content-length": str(200 * 65_536)}, body)
            answer = wire.answer()
            assert (answer.status, wire.body(answer, 10)) == (403, b"no")
        thread.join(30)
