"""Bulk GET jobs: what lands, from which jobs and blobs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from blackpearl import Blackpearl
from faultproxy import Answer, Rule
from ingest.storage.base import GetItem, Transfer
from ingest.storage.spectra import download
from ingest.storage.spectra.documents import Blob
from ingest.storage.spectra.jobs import JobOptions
from ingest.storage.spectra.landed import part_size
from pearls import errors, fetch, filled, get, store_on
from runs import files
from stores import write

if TYPE_CHECKING:
    from pathlib import Path


MIB = 1024**2
CONTENTS = {
    "a": b"content",
    "b/empty": b"",
    "b/exactly": bytes(range(20)),
    "b/more": os.urandom(101),
    "c d/é+%": b"x" * 10,
}
APPLIANCES: dict[str, dict[str, Any]] = {
    "plain": {},
    "blobs": {"blob_size": 10},
    "chunks of one": {"blob_size": 10, "chunk_blobs": 1},
    "shuffled": {"blob_size": 10, "chunk_blobs": 3, "shuffled": True},
    "repeated": {"blob_size": 10, "chunk_blobs": 3, "repeated": True},
    "from tape": {"blob_size": 10, "chunk_blobs": 2, "tape_polls": 3},
    "all at once": {
        "blob_size": 7,
        "chunk_blobs": 2,
        "shuffled": True,
        "repeated": True,
        "tape_polls": 2,
    },
    "old": {
        "omit": frozenset({"Nodes", "NodeId", "IsLatest", "InCache", "VersionId", "Bucket"}),
        "bom": True,
        "gone": 404,
        "bare_errors": True,
    },
}


@pytest.mark.parametrize("large", [False, True], ids=["held", "streamed"])
@pytest.mark.parametrize("options", APPLIANCES.values(), ids=APPLIANCES)
def test_objects_land_whatever_the_appliance_has_made_of_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    large: bool,  # noqa: FBT001 - a parameter
) -> None:
    if large:
        monkeypatch.setattr(download, "LARGE", 1)
    moved: list[int] = []
    with Blackpearl(**options) as pearl:
        store = store_on(pearl, filled(pearl, CONTENTS))
        entries = {entry.key: entry for entry in store.list()}
        outcomes = get(store, tmp_path, how=Transfer(threads=4, moved=moved.append))
        assert not errors(outcomes)
        assert {key: each.size for key, each in outcomes.items()} == {
            key: len(content) for key, content in CONTENTS.items()
        }
        assert [job.status for job in pearl.jobs] == ["COMPLETED"]
        assert not pearl.seen("DELETE")
    assert files(tmp_path) == CONTENTS
    for key, entry in entries.items():
        assert (tmp_path / key).stat().st_mtime == pytest.approx(entry.modified, abs=0.01)
    assert sum(moved) == sum(map(len, CONTENTS.values()))


def test_each_blob_is_fetched_once(tmp_path: Path) -> None:
    with Blackpearl(blob_size=10, chunk_blobs=2, shuffled=True, repeated=True) as pearl:
        store = store_on(pearl, filled(pearl, CONTENTS))
        assert not errors(get(store, tmp_path))
        asked = [(each.path, each.query) for each in pearl.seen("GET", query="offset")]
    assert len(asked) == len(set(asked)) == 1 + 1 + 2 + 11 + 1


def test_a_job_has_so_many_objects_and_a_name_and_a_priority(tmp_path: Path) -> None:
    with Blackpearl() as pearl:
        bucket = filled(pearl, {f"{number:02}": b"x" for number in range(25)})
        store = store_on(pearl, bucket, options=JobOptions("restore", "LOW", objects=10))
        assert not errors(get(store, tmp_path))
        assert [sum(1 for _ in job.entries) for job in pearl.jobs] == [10, 10, 5]
        assert {(job.name, job.priority) for job in pearl.jobs} == {("restore", "LOW")}


def test_without_items_nothing_is_asked(tmp_path: Path) -> None:
    """S-D15."""
    with Blackpearl() as pearl:
        assert not fetch(store_on(pearl), tmp_path, [])
        assert not pearl.requests


def test_one_object_lands_under_two_names(tmp_path: Path) -> None:
    """S-D15: the appliance refuses to have it twice in a job."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"content"}))
        (entry,) = store.list()
        assert not errors(fetch(store, tmp_path, [GetItem(entry, "b"), GetItem(entry, "c/d")]))
    assert files(tmp_path) == {"b": b"content", "c/d": b"content"}


def test_two_versions_of_an_object_land_side_by_side(tmp_path: Path) -> None:
    """S-D18."""
    with Blackpearl(versioning="KEEP_MULTIPLE_VERSIONS") as pearl:
        bucket = filled(pearl, {"a": b"old content"})
        pearl.put(bucket, "a", b"new")
        store = store_on(pearl, bucket)
        versions = list(store.list_versions())
        assert [(each.size, each.is_latest) for each in versions] == [(3, True), (11, False)]
        items = [GetItem(entry, f"a.{number}") for number, entry in enumerate(versions)]
        assert not errors(fetch(store, tmp_path, items))
    assert files(tmp_path) == {"a.0": b"new", "a.1": b"old content"}


# What was there


def test_a_longer_file_that_was_there_is_gone(tmp_path: Path) -> None:
    """S-D01."""
    write(tmp_path, {"a": b"OLD-LONG-CONTENT"})
    with Blackpearl(blob_size=2) as pearl:
        assert not errors(get(store_on(pearl, filled(pearl, {"a": b"NEW"})), tmp_path))
    assert files(tmp_path) == {"a": b"NEW"}


@pytest.mark.parametrize("size", [3, 40])
def test_a_file_that_was_there_survives_a_failure(tmp_path: Path, size: int) -> None:
    """S-D01: nothing is written over it before all has come."""
    write(tmp_path, {"a": b"OLD"})
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"x" * size}))
        rule = Rule(Answer(403, "AccessDenied"), "GET", "/a", query="offset", times=None)
        pearl.rules.append(rule)
        assert errors(get(store, tmp_path, how=Transfer(keep_partial=False)))
    assert files(tmp_path) == {"a": b"OLD"}


@pytest.mark.parametrize("size", [3, 40])
def test_without_overwrite_what_is_there_stays(tmp_path: Path, size: int) -> None:
    write(tmp_path, {"a": b"old"})
    with Blackpearl(blob_size=10) as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"x" * size, "b": b"y"}))
        outcomes = get(store, tmp_path, how=Transfer(overwrite=False))
        assert not errors(outcomes)
        assert {key: each.existed for key, each in outcomes.items()} == {"a": True, "b": False}
    assert files(tmp_path) == {"a": b"old", "b": b"y"}


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil", "a//b", "."])
def test_no_path_leads_outside(tmp_path: Path, path: str) -> None:
    """S-D02."""
    target = tmp_path / "target"
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"k": b"content", "good": b"fine"}))
        entry, good = (store.head(key) for key in ("k", "good"))
        failed = errors(fetch(store, target, [GetItem(entry, path), GetItem(good, "good")]))
        assert failed.keys() == {path}
    assert files(tmp_path) == {"target/good": b"fine"}


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    """S-D02, S-D14."""
    (tmp_path / "target").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "target" / "a").symlink_to(tmp_path / "elsewhere")
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a/b": b"content"}))
        assert "symbolic link" in errors(get(store, tmp_path / "target"))["a/b"]
    assert files(tmp_path / "elsewhere") == {}


def test_a_file_and_a_directory_of_one_name_do_not_keep_the_rest_from_landing(
    tmp_path: Path,
) -> None:
    """S-D21."""
    with Blackpearl() as pearl:
        store = store_on(pearl, filled(pearl, {"a": b"file", "a/b": b"below", "c": b"rest"}))
        outcomes = get(store, tmp_path, how=Transfer(threads=1))
        failed = errors(outcomes)
        assert len(failed) == 1
        assert failed.keys() <= {"a", "a/b"}
    assert files(tmp_path)["c"] == b"rest"


# In what parts an object lands

GIB = 1024**3


def blobs_of(*lengths: int) -> list[Blob]:
    offsets = [sum(lengths[:number]) for number in range(len(lengths))]
    return [Blob("a", at, length) for at, length in zip(offsets, lengths, strict=True)]


@pytest.mark.parametrize(
    ("lengths", "size"),
    [
        ((7,), 7),
        ((100 * 10**9,), 64 * MIB),
        ((10, 10, 1), 10),
        ((5_368_709_120, 2_823_290_880), 64 * MIB),
        ((10**11, 10**11, 5), 62_500_000),
        ((7, 3, 11), 1),
        ((10 * MIB, 20 * MIB, 3), 10 * MIB),
    ],
)
def test_every_blob_begins_a_part(lengths: tuple[int, ...], size: int) -> None:
    blobs = blobs_of(*lengths)
    found = part_size(blobs)
    assert found == size
    assert not [blob for blob in blobs if blob.offset % found]
