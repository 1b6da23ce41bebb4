"""Attributes of files: in the words of others, and on the files that land."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.errors import StoreError
from ingest.files import attributes as module
from ingest.files.attributes import Attributes
from ingest.files.landing import Landing
from ingest.storage.attributes import as_s3, as_spectra, read, with_attributes
from ingest.storage.base import PutItem
from landings import MTIME, fail_with, tree
from stores import command, fill, store_of, write
from test_witness import rclone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support import S3Server
    from test_witness import Told

__all__ = ["rclone"]  # a fixture
ATIME = 1_600_000_000_987_654_321
FILE = Attributes(MTIME, ATIME, 0o100640, 12, 34)
OBJECT_S, OBJECT_NS = 1_800_000_000.5, 1_800_000_000_500_000_000
MODIFIED, READ = "ds3-last-modified-time", "ds3-last-access-time"
NAMES = (
    *("mtime", "atime", "mode", "uid", "gid", MODIFIED, READ, "ds3-mode", "ds3-permissions"),
    *("ds3-uid", "ds3-gid", "MTime", "other"),
)


# Words


def test_what_is_written_is_read() -> None:
    moments = (0, -1, 1, -1_500_000_000, MTIME, 2**63 - 1, 1 - 2**63)
    for moment in moments:
        file = Attributes(moment, moment, 0o640, 2**32 - 2, 0)
        assert read(as_s3(file), OBJECT_S) == file
        cut = moment // 10**6 * 10**6
        found = read(as_spectra(file), OBJECT_S)
        if cut > -(2**63):
            assert found == Attributes(cut, cut, 0o640, 2**32 - 2, 0)


def test_what_the_vendors_java_writes_is_read() -> None:
    told = {
        MODIFIED: "1510158493000",
        "ds3-creation-time": "1510158493001",
        READ: "1510158494999",
        "ds3-mode": "100644",
        "ds3-permissions": "600(rw-------)",
        "ds3-uid": "12",
        "ds3-gid": "34",
        "ds3-ownerName": "somebody",
        "ds3-groupName": "staff",
        "ds3-os": "Mac OS X",
    }
    times = 1_510_158_493 * 10**9, 1_510_158_494_999 * 10**6
    assert read(told, OBJECT_S) == Attributes(*times, 0o644, 12, 34)
    del told["ds3-mode"]
    assert read(told, OBJECT_S) == Attributes(*times, 0o600, 12, 34)
    windows = {"ds3-owner": "S-1-5-21", "ds3-flags": "A", "ds3-os": "Windows 10"}
    assert read(windows, OBJECT_S) == Attributes(OBJECT_NS)


def test_the_finer_of_two_is_taken_where_it_can_be_read() -> None:
    both = as_spectra(FILE) | as_s3(FILE)
    assert read(both, OBJECT_S) == Attributes(MTIME, ATIME, 0o640, 12, 34)
    nonsense = dict.fromkeys(as_s3(FILE), "?")
    found = read(both | nonsense, OBJECT_S)
    assert found == read(as_spectra(FILE), OBJECT_S)
    assert found.mtime_ns == MTIME // 10**6 * 10**6


@pytest.mark.parametrize(
    ("text", "moment_ns"),
    [
        ("1700000000", 1_700_000_000 * 10**9),
        (" 1700000000.5 ", 1_700_000_000_500_000_000),
        ("1700000000.1234567899", 1_700_000_000_123_456_789),
        ("-1.25", -1_250_000_000),
        ("2023-11-14T22:13:20Z", 1_700_000_000 * 10**9),
        ("2023-11-15T03:43:20.000000001+05:30", 1_700_000_000_000_000_001),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("2023-02-30T00:00:00Z", None),
        ("2023-11-14T22:13:20+99:99", None),
        ("2023-11-14T22:13:20", None),
        ("NaN", None),
        ("inf", None),
        ("1e9", None),
        ("9" * 10, None),
        ("9" * 400, None),
        ("\u0661", None),
        ("0x10", None),
        ("1_0", None),
        ("", None),
    ],
)
def test_a_time_is_read_or_left_out(text: str, moment_ns: int | None) -> None:
    found = read({"mtime": text, "atime": text}, OBJECT_S)
    modified = OBJECT_NS if moment_ns is None else moment_ns
    assert found == Attributes(modified, moment_ns)


@pytest.mark.parametrize(
    ("told", "mode"),
    [
        ({"mode": "104755"}, 0o755),
        ({"mode": "0107777"}, 0o777),
        ({"ds3-mode": "102640"}, 0o640),
        ({"mode": "0"}, 0),
        ({"mode": "7777"}, 0o777),
        ({"mode": "33152"}, 0o600),  # as s3fs writes 100600
        ({"mode": "33188"}, 0o644),
        ({"ds3-mode": "33184"}, 0o640),
        ({"mode": "40755"}, None),  # a directory's
        ({"ds3-mode": "40755", "ds3-permissions": "750(rwxr-x---)"}, 0o750),
        ({"mode": "16877"}, None),  # as s3fs writes 40755
        ({"mode": "120777"}, None),
        ({"mode": "41471"}, None),  # as s3fs writes 120777
        ({"mode": "1100644"}, None),
        ({"mode": "98688"}, None),  # 300600
        ({"mode": "8"}, None),
        ({"mode": "-644"}, None),
        ({"mode": "0o644"}, None),
        ({"mode": "7" * 400}, None),
        ({"ds3-permissions": "rw-r--r--"}, None),
        ({"ds3-permissions": "4644(rwS)"}, None),
    ],
)
def test_of_a_mode_only_permissions_are_read(told: dict[str, str], mode: int | None) -> None:
    assert read(told, OBJECT_S).mode == mode


@pytest.mark.parametrize("text", ["-1", "4294967295", "9" * 10, "9" * 400, "root", "1.0", ""])
def test_an_owner_that_is_none_is_left_out(text: str) -> None:
    assert read({"uid": text, "gid": text, "ds3-uid": text}, OBJECT_S) == Attributes(OBJECT_NS)


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(
            st.text(),
            st.integers().map(str),
            st.integers().map(oct),
            st.floats().map(str),
            st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
            st.from_regex(r"[0-7]{3,6}\([rwx-]{9}\)"),
        ),
    )
)
@example({"mtime": "9223372036.854775807", "atime": "-9223372036.854775807"})
def test_whatever_is_in_metadata_can_be_given(told: dict[str, str]) -> None:
    found = read(told, OBJECT_S)
    assert found.mode is None or 0 <= found.mode <= 0o777
    file = os.memfd_create("file")
    try:
        Attributes(found.mtime_ns, found.atime_ns, found.mode).give(file)
        assert os.fstat(file).st_mode & 0o7000 == 0
    finally:
        os.close(file)


def test_times_that_no_date_has_are_written_where_they_can_be() -> None:
    far = Attributes(2**62 * 10**9, 2**62 * 10**9)
    assert as_s3(far).keys() == {"mtime"}
    assert read(as_s3(far), OBJECT_S) == Attributes(OBJECT_NS)
    assert read(as_spectra(far), OBJECT_S) == Attributes(OBJECT_NS)


def test_the_file_is_told_as_it_was_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    chosen = path.stat()
    path.chmod(0o611)
    assert with_attributes(PutItem("k", path, "", {}, chosen), as_s3).metadata["mode"] == "100644"
    assert with_attributes(PutItem("k", path, ""), as_s3).metadata["mode"] == "100611"
    own = with_attributes(PutItem("k", path, "", {"MODE": "1", "k": "v"}), as_s3).metadata
    assert (own["MODE"], own["k"], "mode" in own, "mtime" in own) == ("1", "v", False, True)
    content = PutItem("k", b"content", "")
    assert with_attributes(content, as_s3) is content
    with pytest.raises(StoreError, match=r"cannot read .*missing: No such file"):
        with_attributes(PutItem("k", tmp_path / "missing", ""), as_s3)


def test_garbage_crashes_no_download(moto_server: S3Server, tmp_path: Path) -> None:
    store = store_of(moto_server)
    garbage = {"mtime": "9" * 400, "atime": "NaN", "mode": "rwx", "uid": "-1", "gid": "1e3"}
    fill(store, {"small": b"content", "large": bytes(17 << 20)}, **garbage)
    told = command(moto_server, "download", f"{store.url}/", tmp_path / "back", "--preserve")
    assert told.exit_code == 0
    for name in ("small", "large"):
        assert (tmp_path / "back" / name).stat().st_mtime == store.head(name).modified


# Rclone


def test_rclone_gives_back_what_we_kept(server: S3Server, rclone: Told, tmp_path: Path) -> None:
    here, store = write(tmp_path / "here", {"a": b"1", "large": bytes(17 << 20)}), store_of(server)
    atime_ns = give(here)
    assert command(server, "upload", here, store.url, "--preserve").exit_code == 0
    rclone("copy", "-M", f"there:{store.bucket}", tmp_path / "theirs")
    assert given_to(tmp_path / "theirs") == [(0o640, atime_ns, MTIME)] * 2


def test_we_give_back_what_rclone_kept(server: S3Server, rclone: Told, tmp_path: Path) -> None:
    here, store = write(tmp_path / "here", {"a": b"1", "large": bytes(17 << 20)}), store_of(server)
    atime_ns = give(here)
    rclone("copy", "-M", here, f"there:{store.bucket}")
    told = command(server, "download", f"{store.url}/", tmp_path / "ours", "--preserve")
    assert told.exit_code == 0
    assert given_to(tmp_path / "ours") == [(0o640, atime_ns, MTIME)] * 2


def give(root: Path) -> int:
    """Give all files a time of reading, which is returned, that another reading leaves alone."""
    atime_ns = time.time_ns() - 3_600 * 10**9
    for path in root.iterdir():
        path.chmod(0o640)
        os.utime(path, ns=(atime_ns, MTIME))
    return atime_ns


def given_to(root: Path) -> list[tuple[int, int, int]]:
    found = [path.stat() for path in root.iterdir()]
    return [(each.st_mode & 0o7777, each.st_atime_ns, each.st_mtime_ns) for each in found]


# What lands


@pytest.fixture(params=["small", "in parts"])
def landed(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Attributes], Path]:
    """Land a file with attributes; return where."""

    def land(attributes: Attributes) -> Path:
        with Landing(tmp_path) as landing:
            if request.param == "small":
                landing.write("a", b"content", attributes=attributes)
            else:
                options: dict[str, Any] = {"part_size": 4, "identity": "e"}
                with landing.open("a", 7, **options, attributes=attributes) as partial:
                    for each in partial.missing:
                        content = b"content"[each.offset : each.offset + each.size]
                        partial.write_part(each, [content])
                    partial.commit()
        return tmp_path / "a"

    return land


def test_a_file_is_never_seen_with_other_permissions(
    landed: Callable[[Attributes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[tuple[str, int]] = []
    write, rename = os.pwrite, os.rename

    def pwrite(fd: int, *more: Any) -> int:
        modes.append(("written", os.fstat(fd).st_mode & 0o777))
        return write(fd, *more)

    def renamed(name: str, *more: Any, **where: Any) -> None:
        modes.append(("named", os.stat(name, dir_fd=where["src_dir_fd"]).st_mode & 0o777))
        rename(name, *more, **where)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(os, "rename", renamed)
    landed(Attributes(MTIME, mode=stat.S_IFREG | 0o640))
    assert set(modes) == {("written", 0o600), ("named", 0o640)}


def test_nor_is_the_empty_one_that_holds_its_name_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    rename = os.rename

    def renamed(partial: str, name: str, **where: Any) -> None:
        modes.append(os.stat(name, dir_fd=where["dst_dir_fd"]).st_mode & 0o777)
        rename(partial, name, **where)

    monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
    monkeypatch.setattr(os, "rename", renamed)
    with Landing(tmp_path, overwrite=False) as landing:
        assert landing.write("a", b"content", attributes=Attributes(MTIME, mode=0o640))
    assert (modes, (tmp_path / "a").stat().st_mode & 0o777) == ([0o600], 0o640)


def test_the_owner_comes_before_the_permissions_and_only_from_root(
    landed: Callable[[Attributes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    for name in ("fchown", "fchmod", "utime"):
        monkeypatch.setattr(os, name, lambda _, *a, name=name, **k: calls.append((name, *a, k)))
    for euid in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda euid=euid: euid)
        landed(Attributes(MTIME, ATIME, 0o104755, 12, 34))
        landed(Attributes(MTIME, mode=0o600, gid=34))
    times = {"ns": (ATIME, MTIME)}, {"ns": (MTIME, MTIME)}
    rest = [
        [("fchmod", 0o755, {}), ("utime", times[0])],
        [("fchmod", 0o600, {}), ("utime", times[1])],
    ]
    none: dict[str, int] = {}
    first, second = ("fchown", 12, 34, none), ("fchown", -1, 34, none)
    assert calls == [first, *rest[0], second, *rest[1], *rest[0], *rest[1]]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL])
def test_a_root_that_may_not_give_files_away_keeps_them_and_is_told_once(
    landed: Callable[[Attributes], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
) -> None:
    monkeypatch.setattr(module, "_untold", threading.Lock())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", fail_with(code))
    for _ in range(3):
        found = landed(FILE).stat()
        assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o640, MTIME)
    assert [each.getMessage() for each in caplog.records] == [
        f"not every file gets the owner it had: {os.strerror(code)}"
    ]


@pytest.mark.parametrize(
    ("call", "code"),
    [("fchown", errno.EIO), ("fchown", errno.EROFS), ("fchmod", errno.EPERM)],
)
def test_what_the_file_system_refuses_is_told(
    landed: Callable[[Attributes], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    monkeypatch.setattr(os, call, fail_with(code))
    with pytest.raises(StoreError) as caught:
        landed(FILE)
    where = str(tmp_path / "a")
    told = {"fchown": "the owner 12:34", "fchmod": "the permissions 640"}[call]
    why = f"{os.strerror(code)}: it cannot have {told}"
    assert str(caught.value) == f"cannot write {where!r}: {why}"
    assert tree(tmp_path) == {}


def test_what_others_can_read_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    for attributes in (None, FILE):
        with Landing(tmp_path) as landing:
            options: dict[str, Any] = {"part_size": 4, "identity": "e", "attributes": attributes}
            with landing.open("a", 7, **options) as partial:
                assert len(partial.missing) == 2
                partial.write_part(partial.missing[0], [b"cont"])
            with landing.open("a", 7, **options) as partial:
                assert len(partial.missing) == 1
