"""What the command says and does where some of what it was asked for fails: the rest is done."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from faultproxy import Answer, FaultProxy, Rule
from runs import files
from stores import command, contents, fill, store_of, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import S3Server

FILES = {"a": b"1", "b/c": b"2"}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return write(tmp_path / "here", FILES)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.pacing.Backoff.wait_s", lambda *_: 0.0)


def refuse(path: str, method: str | None = None) -> Rule:
    answer = Answer(status=403, code="AccessDenied", message="No.")
    return Rule(answer, method, path=path, times=None)


def test_each_that_failed_is_named_with_what_the_store_said(
    moto_server: S3Server, here: Path
) -> None:
    store = store_of(moto_server)
    with FaultProxy(moto_server.endpoint_url, [refuse("/b/c", "PUT")]) as proxy:
        told = command(moto_server, "upload", here, store.url, endpoint_url=proxy.endpoint_url)
        assert told.exit_code == 1
        (line, summary) = told.stderr.splitlines()
        for part in (f"{here}/b/c", f"{store.url}/b/c", proxy.endpoint_url, "AccessDenied: No."):
            assert part in line
    assert "1 failed" in summary
    assert contents(store) == {"a": b"1"}


def test_all_refused_exit_3_and_all_missing_exit_4(moto_server: S3Server, here: Path) -> None:
    store = store_of(moto_server)
    with FaultProxy(moto_server.endpoint_url, [refuse("/", "PUT")]) as proxy:
        told = command(moto_server, "upload", here, store.url, endpoint_url=proxy.endpoint_url)
    assert told.exit_code == 3
    assert contents(store) == {}


def test_a_full_disk_midway_fails_what_has_no_room(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(moto_server)
    fill(store, {"big": b"x" * 5000, "small": b"x"})
    real = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if len(data) > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    told = command(moto_server, "download", store.url, tmp_path / "made")
    assert told.exit_code == 1
    assert "No space left on device" in told.stderr
    assert files(tmp_path / "made") == {"small": b"x"}


def test_a_directory_that_cannot_be_written_is_one_error(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"a": b"x"})
    told = command(moto_server, "download", store.url, "/proc/nowhere")
    assert told.exit_code == 1
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    assert line.startswith("error: cannot ")
    assert "/proc/nowhere" in line
    assert files(tmp_path) == {}


def test_an_unreadable_file_fails_and_the_rest_goes_up(
    moto_server: S3Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denying(real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, *arguments: Any, **options: Any) -> Any:
            if str(path).endswith("here/a"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real(path, *arguments, **options)

        return opened

    # Permissions do not keep a superuser out.
    monkeypatch.setattr("builtins.open", denying(open))
    monkeypatch.setattr("os.open", denying(os.open))
    store = store_of(moto_server)
    told = command(moto_server, "upload", here, store.url)
    assert told.exit_code == 1
    assert f"{here}/a" in told.stderr
    assert "Permission denied" in told.stderr
    assert set(contents(store)) == {"b/c"}


def test_links_that_loop_or_lead_nowhere_are_told(moto_server: S3Server, here: Path) -> None:
    (here / "loop").symlink_to("loop")
    (here / "up").symlink_to(here)
    (here / "broken").symlink_to("nowhere")
    store = store_of(moto_server)
    plain = command(moto_server, "upload", here, store.url)
    assert plain.exit_code == 0
    assert plain.stdout.count("skipped: ") == 3
    followed = command(moto_server, "upload", here, store.url, "--follow-symlinks")
    assert followed.exit_code == 1
    assert followed.stderr.count("failed: scan") == 3
    assert contents(store) == FILES


def test_a_planted_symlink_in_the_target_is_told_and_never_followed(
    moto_server: S3Server, here: Path, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, FILES)
    outside = write(tmp_path / "outside", {"c": b"mine"})
    target = write(tmp_path / "made", {})
    (target / "b").symlink_to(outside)
    told = command(moto_server, "download", store.url, target)
    assert told.exit_code == 1
    assert "symbolic link" in told.stderr
    assert files(outside) == {"c": b"mine"}
    assert (target / "a").read_bytes() == (here / "a").read_bytes()
