"""Transfers as others see them: our own verification, rclone and s5cmd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.storage import sending
from ingest.storage.base import Transfer
from ingest.sync import Options
from ingest.trees import LocalTree, StoreTree
from ingest.verification import compare
from runs import child_environment, files
from stores import fill, store_of, write
from transfers import FILES, MIB, MODES, failed, run

if TYPE_CHECKING:
    from ingest.storage.s3 import S3Store
    from ingest.sync import Tree
    from support import S3Server


# Verification


def verified(one: Tree, other: Tree) -> dict[str, str]:
    return {
        each.target.rpartition("/")[2]: str(each.error or each.reason or each.status)
        for each in compare(one, other, (), Transfer())
    }


def test_verify_finds_what_differs(store: S3Store, local: LocalTree) -> None:
    run(local, StoreTree(store))
    assert set(verified(local, StoreTree(store)).values()) == {"done"}
    assert set(verified(StoreTree(store), local).values()) == {"done"}
    assert set(verified(StoreTree(store), StoreTree(store)).values()) == {"done"}
    assert set(verified(local, local).values()) == {"done"}
    fill(store, {"a.txt": b"ONE", "z/last": b"short", "extra": b""})
    list(store.delete_many(["dir/b.csv"]))
    found = verified(local, StoreTree(store))
    assert found["a.txt"] == "the contents differ"
    assert "bytes differ" in found["last"]
    assert found["extra"] == "it is not in the source"
    assert found["b.csv"] == "it is not in the destination"
    assert found["c"] == "done"


@pytest.mark.parametrize("size", [6 * MIB, 17 * MIB], ids=["one-part", "two-parts"])
def test_verify_of_a_large_object_recomputes_its_etag(
    store: S3Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(sending, "LARGE", 5 * MIB)
    content = os.urandom(size)
    here = LocalTree(write(tmp_path / "here", {"large": content}))
    run(here, StoreTree(store))
    assert verified(here, StoreTree(store)) == {"large": "done"}
    write(here.root, {"large": content[:-1] + b"?"})
    assert verified(here, StoreTree(store)) == {"large": "the contents differ"}


# Witnesses


def rclone_environment(server: S3Server) -> dict[str, str]:
    remote = {
        "TYPE": "s3",
        "PROVIDER": "Other",
        "ENDPOINT": server.endpoint_url,
        "ACCESS_KEY_ID": server.access_key.access_key_id,
        "SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "FORCE_PATH_STYLE": "true",
    }
    return {
        **child_environment({f"RCLONE_CONFIG_THERE_{key}": text for key, text in remote.items()}),
        "RCLONE_CONFIG": os.devnull,
    }


def rclone(server: S3Server, *arguments: str | Path) -> str:
    done = subprocess.run(
        [Path(sys.executable).with_name("rclone"), *arguments],
        env=rclone_environment(server),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def s5cmd(server: S3Server, *arguments: str | Path) -> str:
    beside = Path(sys.executable).with_name("s5cmd")
    program = beside if beside.exists() else shutil.which("s5cmd")
    if not program:
        pytest.skip("s5cmd is not installed")
    environ = {
        "AWS_ACCESS_KEY_ID": server.access_key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": server.access_key.secret_access_key,
        "AWS_REGION": "us-east-1",
    }
    done = subprocess.run(
        [program, "--endpoint-url", server.endpoint_url, *arguments],
        env=child_environment(environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


WITNESSED = {
    **FILES,
    "large.bin": os.urandom(17 * MIB),
    "\U0001f600/e\u0301 ç": b"x",
    "a b/c": b"y",
}


def test_rclone_reads_back_what_we_uploaded_and_the_reverse(
    server: S3Server, tmp_path: Path
) -> None:
    store, here = store_of(server), LocalTree(write(tmp_path / "here", WITNESSED))
    assert not failed(run(here, StoreTree(store, "to/")))
    listed = rclone(server, "lsf", "-R", "--files-only", f"there:{store.bucket}/to")
    assert sorted(listed.splitlines()) == sorted(WITNESSED)
    rclone(server, "copy", f"there:{store.bucket}/to", tmp_path / "theirs")
    assert files(tmp_path / "theirs") == WITNESSED
    rclone(server, "copy", here.root, f"there:{store.bucket}/from")
    assert not failed(run(StoreTree(store, "from/"), LocalTree(tmp_path / "ours")))
    assert files(tmp_path / "ours") == WITNESSED
    for mode in MODES:
        assert run(here, StoreTree(store, "from/"), Options(compare=mode)) == []


def test_s5cmd_reads_back_what_we_uploaded_and_the_reverse(
    server: S3Server, tmp_path: Path
) -> None:
    store, here = store_of(server), LocalTree(write(tmp_path / "here", WITNESSED))
    assert not failed(run(here, StoreTree(store, "to/")))
    listed = s5cmd(server, "ls", "--show-fullpath", f"s3://{store.bucket}/to/*")
    start = f"s3://{store.bucket}/to/"
    assert sorted(line.removeprefix(start) for line in listed.splitlines()) == sorted(WITNESSED)
    s5cmd(server, "cp", f"s3://{store.bucket}/to/*", f"{tmp_path}/theirs/")
    assert files(tmp_path / "theirs") == WITNESSED
    s5cmd(server, "cp", f"{here.root}/", f"s3://{store.bucket}/from/")
    assert not failed(run(StoreTree(store, "from/"), LocalTree(tmp_path / "ours")))
    assert files(tmp_path / "ours") == WITNESSED
    for mode in MODES:
        assert run(here, StoreTree(store, "from/"), Options(compare=mode)) == []
