"""Files that land in parts: in any order, gone on with later, and whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ingest.errors import StoreError
from ingest.files import landing as module
from ingest.files.attributes import Attributes
from ingest.files.landing import Landing
from landings import MTIME, finish, open_files, partials, run, tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def begin(landing: Landing, content: bytes, parts: int, identity: str | None = "e") -> None:
    """Write the first ``parts`` parts, of 10 bytes, and leave it at that."""
    with landing.open("a", len(content), part_size=10, identity=identity) as partial:
        for part in partial.missing[:parts]:
            partial.write_part(part, [content[part.offset : part.offset + part.size]])


def test_parts_land_in_any_order_and_from_any_thread(tmp_path: Path) -> None:
    content, before = os.urandom(1_000_003), open_files()
    options = {"part_size": 65_536, "identity": "e", "attributes": Attributes(MTIME)}
    with (
        Landing(tmp_path) as landing,
        ThreadPoolExecutor(8) as workers,
        landing.open("new/a", len(content), **options) as partial,
    ):

        def write(number: int) -> None:
            part = partial.missing[number]
            ours = content[part.offset : part.offset + part.size]
            partial.write_part(part, (ours[at : at + 1000] for at in range(0, len(ours), 1000)))

        list(workers.map(write, reversed(range(16))))
        assert not (tmp_path / "new" / "a").exists()
        assert partial.commit()
    assert tree(tmp_path) == {"new/a": content}
    assert (tmp_path / "new/a").stat().st_mtime_ns == MTIME
    assert open_files() == before


def test_an_empty_file_has_no_parts(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing, landing.open("a", 0, part_size=5, identity=None) as partial:
        assert partial.missing == ()
        assert partial.commit()
    assert tree(tmp_path) == {"a": b""}


def test_a_later_run_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    content = os.urandom(45)
    with Landing(tmp_path) as landing:
        begin(landing, content, 3)
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 45, part_size=10, identity="e") as partial,
    ):
        assert [(part.offset, part.size) for part in partial.missing] == [(30, 10), (40, 5)]
        finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_killed_run_is_gone_on_with(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from ingest.files.landing import Landing
landing = Landing(Path(sys.argv[1]))
partial = landing.open("a", 30, part_size=10, identity="e")
partial.write_part(partial.missing[2], [b"2" * 10])
def chunks():
    yield b"0" * 5
    os.kill(os.getpid(), signal.SIGKILL)
partial.write_part(partial.missing[0], chunks())
"""
    assert run(code, tmp_path).returncode == -signal.SIGKILL
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 30, part_size=10, identity="e") as partial,
    ):
        assert [part.offset for part in partial.missing] == [0, 10]
        finish(partial, b"0" * 10 + b"1" * 10 + b"never written again")
    assert tree(tmp_path) == {"a": b"0" * 10 + b"1" * 10 + b"2" * 10}


@pytest.mark.parametrize(
    "change", [{"identity": "other"}, {"size": 44}, {"part_size": 9}, {"boot": "other"}]
)
def test_what_was_left_of_another_content_is_not_gone_on_with_and_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    facts: dict[str, Any] = {"size": 45, "part_size": 10, "identity": "e", **change}
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
    if "boot" in facts:
        monkeypatch.setattr(module, "_boot", lambda: facts.pop("boot"))
    content = os.urandom(facts["size"])
    with (
        Landing(tmp_path) as landing,
        landing.open("a", **{k: v for k, v in facts.items() if k != "boot"}) as partial,
    ):
        assert sum(part.size for part in partial.missing) == len(content)
        assert len(partials(tmp_path)) == 2
        finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_partial_file_of_another_length_is_begun_anew(tmp_path: Path) -> None:
    content = os.urandom(45)
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
        with (tmp_path / partials(tmp_path)[0]).open("ab") as file:
            file.write(b"\1")
        with landing.open("a", 45, part_size=10, identity="e") as partial:
            assert len(partial.missing) == 5
            partial.write_part(partial.missing[0], [content[:10]])
        with landing.open("a", 45, part_size=10, identity="e") as partial:
            assert len(partial.missing) == 4
            finish(partial, content)
    assert tree(tmp_path) == {"a": content}


def test_a_small_file_too_removes_what_was_left_of_it_alone(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)
    (tmp_path / ".ab.0123456789abcdef.partial").write_bytes(b"another's")
    (tmp_path / ".a.partial").write_bytes(b"a user's")
    with Landing(tmp_path) as landing:
        landing.write("a", b"new")
    assert set(tree(tmp_path)) == {"a", ".a.partial", ".ab.0123456789abcdef.partial"}


def test_a_partial_file_that_someone_writes_is_left_alone(tmp_path: Path) -> None:
    with (
        Landing(tmp_path) as before,
        before.open("a", 2, part_size=1, identity="old") as theirs,
        Landing(tmp_path) as ours,
    ):
        with pytest.raises(StoreError, match="another transfer is writing it"):
            ours.open("a", 2, part_size=1, identity="old")
        ours.write("a", b"new")
        assert len(partials(tmp_path)) == 1
        finish(theirs, b"ab")
    assert tree(tmp_path) == {"a": b"ab"}


def test_a_file_completed_while_it_is_opened_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), 3)

        def complete(fd: int, how: int) -> None:  # by the transfer that had the lock until now
            (tmp_path / partials(tmp_path)[0]).rename(tmp_path / "a")
            monkeypatch.undo()
            fcntl.flock(fd, how)

        monkeypatch.setattr(fcntl, "flock", complete)
        with pytest.raises(StoreError, match="another transfer is writing it"):
            landing.open("a", 45, part_size=10, identity="e")
    assert tree(tmp_path) == {"a": bytes(45) + b"\1\1\1\0\0"}


@pytest.mark.parametrize(("parts", "identity"), [(0, "e"), (3, None)])
def test_what_could_not_be_gone_on_with_is_not_kept(
    tmp_path: Path, parts: int, identity: str | None
) -> None:
    with Landing(tmp_path) as landing:
        begin(landing, bytes(45), parts, identity)
        assert tree(tmp_path) == {}


@pytest.mark.parametrize("came", [b"", b"123456789", b"12345678901"])
def test_a_part_of_another_size_is_an_error(tmp_path: Path, came: bytes) -> None:
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 20, part_size=10, identity="e") as partial,
    ):
        partial.write_part(partial.missing[1], [b"x" * 10])
        with pytest.raises(StoreError, match=r"cannot write '.*/a': .*10 bytes"):
            partial.write_part(partial.missing[0], [came[:3], came[3:]])
        with pytest.raises(StoreError, match="1 parts are missing"):
            partial.commit()
        partial.write_part(partial.missing[0], [b"y" * 10])
        partial.commit()
    assert tree(tmp_path) == {"a": b"y" * 10 + b"x" * 10}


def test_an_error_of_the_source_passes_through_unchanged(tmp_path: Path) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"123"
        raise ConnectionResetError("the network")

    with (
        Landing(tmp_path) as landing,
        landing.open("a", 20, part_size=10, identity="e") as partial,
        pytest.raises(ConnectionResetError, match="the network"),
    ):
        partial.write_part(partial.missing[0], chunks())
    assert tree(tmp_path) == {}


def test_a_check_reads_the_content_and_refuses_it_for_good(tmp_path: Path) -> None:
    content, seen = os.urandom(2_500_000), []
    (tmp_path / "a").write_bytes(b"old")

    def check(chunks: Iterator[bytes]) -> None:
        seen.append(b"".join(chunks))
        if len(seen) == 1:
            raise StoreError("another hash")

    with Landing(tmp_path) as landing:
        for landed in (b"old", content):
            with (
                contextlib.suppress(StoreError),
                landing.open("a", len(content), part_size=10**6, identity="e") as partial,
            ):
                assert len(partial.missing) == 3
                finish(partial, content, check=check)
            assert tree(tmp_path) == {"a": landed}
    assert seen == [content] * 2


def test_an_interrupted_check_loses_nothing(tmp_path: Path) -> None:
    def check(_: Iterator[bytes]) -> None:
        raise KeyboardInterrupt

    with Landing(tmp_path) as landing:
        partial = landing.open("a", 20, part_size=10, identity="e")
        with pytest.raises(KeyboardInterrupt), partial:
            finish(partial, b"x" * 20, check=check)
        with landing.open("a", 20, part_size=10, identity="e") as partial:
            assert partial.missing == ()
            partial.commit()
    assert tree(tmp_path) == {"a": b"x" * 20}


def test_a_directory_made_in_its_place_meanwhile_stays(tmp_path: Path) -> None:
    with (
        Landing(tmp_path) as landing,
        landing.open("a", 3, part_size=3, identity="e") as partial,
    ):
        (tmp_path / "a").mkdir()
        with pytest.raises(StoreError, match="Is a directory"):
            finish(partial, b"new")
        with pytest.raises(StoreError, match="it was ended"):
            partial.commit()
    assert (tmp_path / "a").is_dir()
    assert tree(tmp_path) == {}


def test_a_discarded_file_takes_no_more_and_harms_no_other(tmp_path: Path) -> None:
    """A worker that is late must not write to a file which got the same descriptor."""
    started, discarded = threading.Event(), threading.Event()

    def chunks() -> Iterator[bytes]:
        yield b"1"
        started.set()
        discarded.wait(10)
        yield b"2"

    with Landing(tmp_path) as landing, ThreadPoolExecutor(1) as worker:
        partial = landing.open("a", 2, part_size=2, identity="e")
        late = worker.submit(partial.write_part, partial.missing[0], chunks())
        started.wait(10)
        partial.discard()
        partial.close()
        with (tmp_path / "other").open("wb") as other:
            discarded.set()
            assert isinstance(late.exception(10), StoreError)
            other.write(b"mine")
    assert tree(tmp_path) == {"other": b"mine"}
