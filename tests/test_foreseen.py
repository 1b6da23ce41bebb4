"""What a download cannot hold is known before anything is sent, for as few listings as it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer, FaultProxy, Rule
from ingest import downloader
from ingest.errors import StoreError
from ingest.storage import (
    listing,  # noqa: F401 - by its own PAGE, before a test sets another
    pages,
)
from ingest.sync import Options, sync
from ingest.trees import LocalTree, StoreTree
from runs import files
from stores import fill, store_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faultproxy import Seen
    from ingest.storage.s3 import S3Store
    from support import S3Server

_EVERYTHING = Options(compare=None)
_OBJECTS = {f"p/{number:02}": b"%d" % number for number in range(9)} | {
    "p/05/below": b"where 05 is a file",
    "p/08/below": b"where 08 is a file",
}
_HELD = {key[2:]: content for key, content in _OBJECTS.items() if "below" not in key}


@pytest.fixture
def proxy(moto_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto_server.endpoint_url) as between:
        yield between


@pytest.fixture
def source(proxy: FaultProxy, moto_server: S3Server) -> S3Store:
    bucket = moto_server.new_bucket()
    fill(store_of(moto_server, bucket), _OBJECTS)
    return store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)


def _is_listing(seen: Seen) -> bool:
    return "list-type=2" in seen.query


def _listings(proxy: FaultProxy) -> int:
    return sum(map(_is_listing, proxy.requests))


@pytest.mark.parametrize("kept", [1, 4, 10, 11, 50_000])
def test_all_that_has_a_place_arrives_however_much_of_the_listing_is_kept(
    source: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(downloader, "_KEPT", kept)
    monkeypatch.setattr(pages, "PAGE", 3)
    done = list(sync(StoreTree(source, "p/"), LocalTree(tmp_path / "here"), _EVERYTHING))
    told = [(operation.status, operation.source[-8:]) for operation in done[:2]]
    assert told == [("failed", "05/below"), ("failed", "08/below")]
    assert {operation.status for operation in done[2:]} == {"done"}
    assert files(tmp_path / "here") == _HELD


def test_what_is_refused_is_told_before_the_first_request_for_an_object(
    source: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    done = sync(StoreTree(source, "p/"), LocalTree(tmp_path / "here"), _EVERYTHING)
    assert [next(done).status, next(done).status] == ["failed", "failed"]
    assert all(_is_listing(seen) for seen in proxy.requests)
    assert not (tmp_path / "here").exists()
    assert next(done).status == "done"


def test_one_listing_is_enough_for_a_download_and_for_nothing_to_do(
    source: S3Store, proxy: FaultProxy, tmp_path: Path
) -> None:
    here = LocalTree(tmp_path / "here")
    list(sync(StoreTree(source, "p/"), here, _EVERYTHING))
    assert _listings(proxy) == 1
    again = list(sync(StoreTree(source, "p/"), here, Options()))
    assert [operation.status for operation in again] == ["failed", "failed"]
    assert _listings(proxy) == 2


def test_a_listing_that_ends_in_an_error_leaves_no_trace(
    source: S3Store, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 3)
    proxy.rules.append(
        Rule(Answer(400, "BadThing"), query="continuation-token", times=None, skip=1)
    )
    with pytest.raises(StoreError, match="BadThing"):
        list(sync(StoreTree(source, "p/"), LocalTree(tmp_path / "here"), _EVERYTHING))
    assert not (tmp_path / "here").exists()
