"""Uploads of large files that were cut off, and what the same command does then."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer, FaultProxy, Rule, Stall
from stores import command, contents, program, store_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.storage.s3 import S3Store
    from support import S3Server

LARGE = 48 << 20
SENT = 2
"""Parts that go through before the rest is held back."""


def unfinished(store: S3Store) -> list[str]:
    """The ids of uploads that nobody has completed; rclone answers an error where there is none."""
    client = store.clients.client()
    try:
        answer = client.list_multipart_uploads(Bucket=store.bucket)
    except client.exceptions.NoSuchUpload:
        return []
    return [each["UploadId"] for each in answer.get("Uploads", ())]


def cut_off(server: S3Server, store: S3Store, path: Path, by: signal.Signals) -> int:
    """Begin to upload, end it by a signal once some parts are there, and return their bytes."""
    with FaultProxy(server.endpoint_url) as proxy:
        held = Stall(threading.Event())
        proxy.rules = [Rule(held, "PUT", query="partNumber", skip=SENT, times=None)]
        words = ("upload", path, f"{store.url}/large")
        with program(server, *words, endpoint_url=proxy.endpoint_url) as running:
            try:
                proxy.wait_until(lambda: len(done(proxy)) == SENT and len(held_back(proxy)) > 0)
                running.send_signal(by)
                running.communicate(timeout=10)
            finally:
                running.kill()
        return sum(done(proxy))


def done(proxy: FaultProxy) -> list[int]:
    parts = proxy.seen("PUT", query="partNumber")
    return [each.body_size for each in parts if each.status == 200]


def held_back(proxy: FaultProxy) -> list[object]:
    return [each for each in proxy.seen("PUT", query="partNumber") if each.failed_by]


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_upload_that_was_cut_off_goes_on_from_another_copy_of_the_file(
    server: S3Server, tmp_path: Path, by: signal.Signals
) -> None:
    content, store = os.urandom(LARGE), store_of(server)
    here = write(tmp_path / "here", {"large": content})
    there = cut_off(server, store, here / "large", by)
    assert len(unfinished(store)) == 1
    other = write(tmp_path / "another machine", {"copy": content}, time=None)
    with FaultProxy(server.endpoint_url) as proxy:
        words = ("upload", other / "copy", f"{store.url}/large")
        again = command(server, *words, endpoint_url=proxy.endpoint_url)
        assert again.exit_code == 0, again.stderr
        assert sum(each.body_size for each in proxy.seen("PUT")) == LARGE - there
    assert contents(store) == {"large": content}
    assert unfinished(store) == []


def test_an_upload_of_another_content_takes_nothing_of_the_one_that_was_cut_off(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    here = write(tmp_path / "here", {"large": os.urandom(LARGE)})
    cut_off(moto_server, store, here / "large", signal.SIGKILL)
    content = os.urandom(LARGE)
    write(here, {"large": content})
    assert command(moto_server, "upload", here / "large", f"{store.url}/large").exit_code == 0
    assert contents(store) == {"large": content}


@pytest.mark.parametrize(
    ("asked", "left", "says"), [((), 1, "kept"), (("--no-keep-partial",), 0, "aborted")]
)
def test_what_is_there_after_a_failure_is_kept_unless_asked_otherwise(
    moto_server: S3Server, tmp_path: Path, asked: tuple[str, ...], left: int, says: str
) -> None:
    here, store = write(tmp_path / "here", {"large": os.urandom(LARGE)}), store_of(moto_server)
    full = Answer(status=507, code="QuotaExceeded", message="No.")
    with FaultProxy(moto_server.endpoint_url) as proxy:
        proxy.rules = [Rule(full, "PUT", query="partNumber=2", times=None)]
        words = ("upload", here / "large", f"{store.url}/large", *asked)
        told = command(moto_server, *words, endpoint_url=proxy.endpoint_url)
    assert told.exit_code == 1
    assert says in told.stderr
    assert len(unfinished(store)) == left
    assert contents(store) == {}
