"""Deletes in a directory, of which somebody makes something else in the meantime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.storage.base import PLAIN
from ingest.trees import LocalTree
from runs import files
from stores import command, fill, store_of, write

if TYPE_CHECKING:
    from pathlib import Path

    from support import S3Server

FILES = {"a": b"1", "b/c": b"2", "b/d/e": b"3", "b/d/f": b"4", "g/h": b"5"}


def delete(root: Path, *keys: str) -> dict[str, str]:
    """Delete; return what failed, with the reason."""
    outcomes = list(LocalTree(root).delete(keys, PLAIN))
    assert [outcome.key for outcome in outcomes] == list(keys)
    return {outcome.key: str(outcome.error) for outcome in outcomes if outcome.error}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write(tmp_path / "root", FILES)


def test_what_is_named_goes_and_nothing_else(root: Path) -> None:
    assert delete(root, "b/d/e", "b/d/f", "b/d/", "g/h", "a", "nothing", "no/such/file") == {}
    assert files(root) == {"b/c": b"2"}
    assert not (root / "b/d").exists()
    assert (root / "g").is_dir()


def test_a_directory_that_is_not_empty_stays(root: Path) -> None:
    assert "not empty" in delete(root, "b/")["b/"]
    assert files(root) == FILES


def test_a_directory_in_the_place_of_a_file_stays(root: Path) -> None:
    assert set(delete(root, "b", "a")) == {"b"}
    assert "a" not in files(root)


def test_links_are_removed_and_never_followed(root: Path, tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"kept": b"", "below/kept": b""})
    (root / "file").symlink_to(outside / "kept")
    (root / "directory").symlink_to(outside)
    failed = delete(root, "file", "directory/kept", "directory/below/kept", "directory/below/")
    assert set(failed) == {"directory/kept", "directory/below/kept", "directory/below/"}
    assert all("symbolic link" in reason for reason in failed.values())
    assert not (root / "file").is_symlink()
    assert set(files(outside)) == {"kept", "below/kept"}


def test_a_directory_that_is_swapped_for_a_link_meanwhile_leads_nowhere(
    root: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path / "outside", {"d/e": b"", "d/f": b"", "h": b""})

    def keys() -> list[str]:
        for name in ("b", "g"):
            (root / name).rename(tmp_path / f"was-{name}")
            (root / name).symlink_to(outside)
        return ["b/d/f", "g/h"]

    def swapping() -> object:
        yield "b/d/e"
        yield from keys()

    outcomes = list(LocalTree(root).delete(swapping(), PLAIN))  # type: ignore[arg-type]
    assert [bool(outcome.error) for outcome in outcomes] == [False, False, True]
    assert set(files(outside)) == {"d/e", "d/f", "h"}
    # What was open already is what was there before.
    assert not (tmp_path / "was-b/d/f").exists()


def test_the_directory_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert delete(tmp_path / "link", "b/d/e", "a") == {}
    assert set(files(root)) == {"b/c", "b/d/f", "g/h"}


def test_no_directory_at_all_is_all_deleted(tmp_path: Path) -> None:
    assert delete(tmp_path / "nothing", "a", "b/c") == {}


def test_it_leaves_no_directory_open(root: Path) -> None:
    before = set(os.listdir("/dev/fd"))  # noqa: PTH208 - names alone
    delete(root, "b/d/e", "g/h", "b/c")
    outcomes = LocalTree(root).delete(["b/d/f", "a"], PLAIN)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    assert set(os.listdir("/dev/fd")) == before  # noqa: PTH208 - as above


NAMES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join)


@given(st.lists(NAMES), st.lists(NAMES))
def test_any_keys_in_any_order_delete_just_those(
    tmp_path_factory: pytest.TempPathFactory, there: list[str], keys: list[str]
) -> None:
    root = tmp_path_factory.mktemp("root")
    for key in there:
        path = root / key
        if not any(parent.is_file() for parent in [path, *path.parents]) and not path.is_dir():
            write(root, {key: b""}, time=None)
    before = set(files(root))
    delete(root, *keys)
    assert set(files(root)) == before - set(keys)


def test_a_move_deletes_no_file_that_a_followed_link_led_to(
    moto_server: S3Server, root: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path / "outside", {"kept": b"content"})
    (root / "link").symlink_to(outside)
    store = store_of(moto_server)
    told = command(moto_server, "mv", "--recursive", "--follow-symlinks", root, store.url)
    assert told.exit_code == 1
    assert "symbolic link" in told.stderr
    assert store.read("link/kept") == b"content"
    assert files(outside) == {"kept": b"content"}
    assert files(root) == {}


def test_a_sync_deletes_links_and_not_what_they_lead_to(
    moto_server: S3Server, root: Path, tmp_path: Path
) -> None:
    outside = write(tmp_path / "outside", {"kept": b""})
    (root / "b/link").symlink_to(outside / "kept")
    store = store_of(moto_server)
    fill(store, {"a": b"1"})
    told = command(moto_server, "sync", "--delete", store.url, root)
    assert told.exit_code == 0, told.stderr
    assert set(files(root)) <= {"a", "b/link"}
    assert files(outside) == {"kept": b""}
