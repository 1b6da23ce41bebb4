"""What a transfer deletes: last, and never where anything went wrong before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faultproxy import Answer, DropAnswer, FaultProxy, Rule
from ingest.errors import BucketNotFound, IngestError, NotFound
from ingest.storage.base import PutItem
from ingest.sync import Options
from ingest.trees import LocalTree, StoreTree
from runs import files
from stores import contents, fill, store_of, write
from transfers import FILES, failed, refuse, run, targets

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.storage.s3 import S3Store
    from ingest.sync import Tree
    from support import S3Server


def test_deletes_come_last(store: S3Store, local: LocalTree) -> None:
    fill(store, {"to/0 first": b"extra", "to/x": b"extra", "together": b"stays"})
    operations = run(local, StoreTree(store, "to/"), Options(delete=True))
    verbs = [each.verb for each in operations]
    assert verbs == sorted(verbs, key=["upload", "copy", "delete"].index)
    assert targets(operations, "delete") == [f"{store.url}/to/0 first", f"{store.url}/to/x"]
    assert set(contents(store)) == {*(f"to/{key}" for key in FILES), "together"}


def test_deletes_of_a_directory_leave_what_is_outside_and_its_directories(
    store: S3Store, local: LocalTree, tmp_path: Path
) -> None:
    run(local, StoreTree(store))
    target = write(tmp_path / "to", {"extra": b"", "old/extra": b""})
    write(tmp_path, {"outside": b""})
    (target / "link").symlink_to(tmp_path / "outside")
    operations = run(StoreTree(store), LocalTree(target), Options(delete=True))
    assert targets(operations, "delete") == [f"{target}/extra", f"{target}/old/extra"]
    assert (target / "link").is_symlink()
    assert (tmp_path / "outside").exists()


def test_nothing_is_deleted_after_a_failure(moto_server: S3Server, local: LocalTree) -> None:
    bucket = moto_server.new_bucket()
    fill(store_of(moto_server, bucket), {"extra": b""})
    with FaultProxy(moto_server.endpoint_url, refuse("a.txt")) as proxy:
        store = store_of(moto_server, bucket, endpoint_url=proxy.endpoint_url)
        operations = run(local, StoreTree(store), Options(delete=True))
    first, last = failed(operations)
    assert "a.txt" in first
    assert "nothing was deleted" in last
    assert "1 of the steps before failed" in last
    assert operations[-1].verb == "delete"
    assert set(contents(store_of(moto_server, bucket))) == {*FILES, "extra"} - {"a.txt"}


@pytest.mark.parametrize("most", [0, 1, 2])
@pytest.mark.parametrize("dry_run", [False, True])
def test_more_than_max_delete_deletes_nothing(
    store: S3Store,
    local: LocalTree,
    most: int,
    dry_run: bool,  # noqa: FBT001 - a parameter
) -> None:
    run(local, StoreTree(store))
    fill(store, {"extra1": b"", "extra2": b""})
    operations = run(
        local, StoreTree(store), Options(delete=True, max_delete=most, dry_run=dry_run)
    )
    if most < 2:
        (problem,) = failed(operations)
        assert "--max-delete" in problem
    left = set() if most == 2 and not dry_run else {"extra1", "extra2"}
    assert set(contents(store)) == {*FILES} | left


def test_a_source_that_is_missing_or_empty_deletes_nothing(
    moto_server: S3Server, tmp_path: Path, local: LocalTree
) -> None:
    store = store_of(moto_server)
    run(local, StoreTree(store))
    with pytest.raises(NotFound, match="none"):
        run(LocalTree(tmp_path / "none"), StoreTree(store), Options(delete=True))
    (tmp_path / "empty/dir").mkdir(parents=True)
    for empty in (LocalTree(tmp_path / "empty"), LocalTree(tmp_path / "empty", empty_dirs=True)):
        operations = run(empty, StoreTree(store), Options(delete=True))
        assert "nothing was deleted" in failed(operations)[-1]
    for nothing in (StoreTree(store, "no/such/prefix/"), StoreTree(store, "a.tx/")):
        for target in (local, StoreTree(store, "dir/")):
            operations = run(nothing, target, Options(delete=True))
            assert len(failed(operations)) == 1
    assert set(contents(store)) >= {*FILES}
    assert files(local.root) == FILES


def test_a_bucket_that_is_missing_deletes_nothing(server: S3Server, local: LocalTree) -> None:
    with pytest.raises(BucketNotFound):
        run(StoreTree(store_of(server, "no-such-bucket")), local, Options(delete=True))
    assert files(local.root) == FILES


@pytest.mark.parametrize("direction", ["up", "down", "copy"])
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=403, code="AccessDenied", message="No."), id="refused"),
        pytest.param(DropAnswer(400), id="cut"),
        pytest.param(Answer(status=501, code="NotImplemented", message="No."), id="broken"),
    ],
)
def test_a_listing_that_fails_deletes_nothing(
    moto_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    direction: str,
    answer: Answer | DropAnswer,
) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)
    plain = store_of(moto_server)
    names = {f"k{number:04}": b"x" for number in range(1010)}
    list(plain.put_many(PutItem(key, b"x", "text/plain") for key in names))
    here = LocalTree(write(tmp_path / "here", {"0": b"", "z": b""}))
    other = store_of(moto_server)
    fill(other, {"0": b"", "z": b""})
    second_page = Rule(answer, "GET", query="continuation-token", times=None)
    after = Rule(answer, "GET", query="start-after", times=None)
    with FaultProxy(moto_server.endpoint_url, [second_page, after]) as proxy:
        failing = StoreTree(store_of(moto_server, plain.bucket, endpoint_url=proxy.endpoint_url))
        source: Tree = here if direction == "up" else failing
        destination: Tree = failing if direction == "up" else here
        if direction == "copy":
            destination = StoreTree(store_of(moto_server, other.bucket))
        with pytest.raises(IngestError):
            run(source, destination, Options(delete=True))
    assert set(contents(other)) >= {"0", "z"}
    assert set(files(here.root)) >= {"0", "z"}
    assert {entry.key for entry in plain.list()} >= {*names}


def test_a_scan_that_could_not_read_everything_deletes_nothing(
    store: S3Store, local: LocalTree
) -> None:
    run(local, StoreTree(store))
    fill(store, {"extra": b""})
    (local.root / "broken").symlink_to("nowhere")
    followed = LocalTree(local.root, follow_symlinks=True)
    for dry_run in (True, False):
        operations = run(followed, StoreTree(store), Options(delete=True, dry_run=dry_run))
        assert [each.verb for each in operations] == ["scan", "delete"]
        assert len(failed(operations)) == 2
        assert "1 of the steps before failed" in failed(operations)[1]
    assert set(contents(store)) == {*FILES, "extra"}
