"""What the command leaves alone, and what it says of it."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ingest.files.landing import Landing
from runs import child_environment, files
from stores import command, command_environment, contents, fill, lines, store_of, write
from tinys3 import Answer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support import S3Server

MIB = 1 << 20
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Path]:
    """A directory with a pipe and a socket in it, and a device where we may make one."""
    here = tmp_path / "special"
    here.mkdir()
    os.mkfifo(here / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        directory = os.open(here, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
        if os.geteuid() == 0:
            os.mknod(here / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        yield here


# What is there already, and is no file


@pytest.mark.parametrize("size", [3, 17 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("words", [["sync"], ["download"], ["cp"]])
def test_a_pipe_a_socket_or_a_device_is_never_replaced(
    moto_server: S3Server, special: Path, words: list[str], size: int
) -> None:
    store = store_of(moto_server)
    names = sorted(path.name for path in special.iterdir())
    modes = {name: (special / name).stat().st_mode for name in names}
    fill(store, dict.fromkeys([*names, "file"], b"x" * size))
    if words == ["cp"]:
        for name in names:
            done = command(moto_server, "cp", f"{store.url}/{name}", special / name)
            assert done.exit_code == 1
            assert "is there, and stays" in done.stderr
    else:
        done = command(moto_server, *words, store.url, special)
        assert done.exit_code == 1
        assert done.stderr.count("is there, and stays") == len(names)
        assert "skipped" not in done.stdout
        assert files(special)["file"] == b"x" * size
    assert {name: (special / name).stat().st_mode for name in names} == modes
    assert not list(special.glob(".*.partial"))


def test_a_pipe_that_comes_while_a_file_lands_stays(tmp_path: Path) -> None:
    with Landing(tmp_path) as landing:
        file = landing.open("a", 3, part_size=3, identity=None)
        file.write_part(file.parts[0], [b"abc"])
        os.mkfifo(tmp_path / "a")
        with pytest.raises(Exception, match="a named pipe is there, and stays"):
            file.commit()
    assert (tmp_path / "a").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# Rules, for one object


def test_rules_are_heeded_for_one_object_as_well(moto_server: S3Server, tmp_path: Path) -> None:
    store, here = store_of(moto_server), write(tmp_path / "here", {"a.txt": b"1"})
    fill(store, {"dir/b.txt": b"2"})
    for words in (
        ["upload", here / "a.txt", f"{store.url}/new"],
        ["download", f"{store.url}/dir/b.txt", here],
        ["cp", f"{store.url}/dir/b.txt", f"{store.url}/new"],
        ["rm", f"{store.url}/dir/b.txt"],
        ["verify", f"{store.url}/dir/b.txt", here / "a.txt"],
    ):
        done = command(moto_server, *words, "--exclude", "*.txt")
        assert (done.exit_code, done.output) == (0, "nothing to do\n"), words
    assert (contents(store), files(here)) == ({"dir/b.txt": b"2"}, {"a.txt": b"1"})
    done = command(moto_server, "rm", f"{store.url}/dir/b.txt", "--exclude=*", "--include=b*")
    assert (done.exit_code, contents(store)) == (0, {})


# What is told


@pytest.mark.parametrize(
    "words",
    [
        "ls {missing}",
        "sync here {missing}",
        "sync {missing} here",
        "download {missing}/key here",
        "upload none {missing}",
        "rm {missing}/key",
        "rb {missing}",
        "verify here {missing}",
        "cleanup {missing}",
    ],
)
def test_what_ends_the_whole_is_in_the_summary(
    moto_server: S3Server, tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("here"), {"a": b"1"})
    asked = words.format(missing="s3://no-such-bucket").split()
    done = command(moto_server, *asked, "--json")
    assert done.exit_code == 4
    *_, summary = lines(done)
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert summary["summary"]["error"] == error.removeprefix("error: ")


def test_a_file_that_cannot_be_read_is_named_as_what_it_is(
    moto_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, here = store_of(moto_server), write(tmp_path / "here", {"closed": b"1", "open": b"2"})
    opened = os.open

    def refuse(path: str | Path, *rest: int, **more: int) -> int:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    done = command(moto_server, "upload", here, store.url)
    assert (done.exit_code, contents(store)) == (1, {"open": b"2"})
    assert f"cannot read {here}/closed: Permission denied" in done.stderr


def test_a_disk_that_refuses_is_not_told_as_the_store(
    moto_server: S3Server, tmp_path: Path
) -> None:
    store = store_of(moto_server)
    fill(store, {"a/b": b"1"})
    here = write(tmp_path / "here", {"a": b"a file"})
    done = command(moto_server, "cp", f"{store.url}/a/b", here / "a/b")
    assert done.exit_code == 1
    assert "cannot read s3://" not in done.stderr
    assert "is not a directory" in done.stderr


def test_a_source_that_is_not_there_is_no_directory(moto_server: S3Server) -> None:
    done = command(moto_server, "upload", "none", "s3://bucket")
    assert (done.exit_code, done.stderr) == (4, "error: there is no file or directory none\n")


@pytest.mark.parametrize(
    "words",
    ["buckets", "mb s3://bucket", "ls s3://bucket", "rm s3://bucket/a", "upload here s3://bucket"],
)
def test_a_web_site_is_taken_for_no_store(tmp_path: Path, words: str) -> None:
    page = Answer(200, b"<html><body>hello</body></html>", {"Content-Type": "text/html"})
    here = write(tmp_path / "here", {"a": b"1"})
    with serve(lambda _: page) as url:
        asked = [str(here) if word == "here" else word for word in words.split()]
        done = command(None, *asked, ENDPOINT_URL=url, **KEYS)
    assert (done.exit_code, "S3 API" in done.stderr) == (1, True), done.output


def test_a_limit_of_none_is_refused(moto_server: S3Server) -> None:
    done = command(moto_server, "run", "--limit", "0")
    assert (done.exit_code, "limit is 0" in done.output) == (2, True)


def test_help_that_cannot_be_written_is_an_error(moto_server: S3Server) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    for words in ([], ["ls"]):
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "ingest", *words, "--help"],
                env=child_environment(command_environment(moto_server)),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "cannot use stdout" in done.stderr


# What a command is started with


def test_standard_input_that_is_closed_is_an_empty_list(moto_server: S3Server) -> None:
    store = store_of(moto_server)
    script = f'"$0" -m ingest upload . {store.url} --files-from - <&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env=child_environment(command_environment(moto_server)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "nothing to do\n")
