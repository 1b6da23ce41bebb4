"""The README's part on the command: its examples run, and it names every command and option."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from stores import ALL_COMMANDS, command, write
from support import REPOSITORY

if TYPE_CHECKING:
    from support import S3Server

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PART = re.split(r"^## ", README, flags=re.MULTILINE)
(COMMAND,) = (part for part in PART if part.startswith("Moving directories"))
BLOCKS = re.findall(r"^```console\n(.*?)^```", COMMAND, re.MULTILINE | re.DOTALL)
HERE = {"z": b"", "a/x.txt": b"hello\n", "a/b/y.csv": b"a,b,c\n"}


def examples() -> list[tuple[str, list[str]]]:
    """Each line after a prompt, and the lines that are shown below it."""
    told = [each.splitlines() for each in re.split(r"^\$ ", BLOCKS[0], flags=re.MULTILINE)[1:]]
    return [(asked, shown) for asked, *shown in told]


def plain(line: str, endpoint_url: str) -> str:
    """``line`` without what differs from run to run."""
    line = line.replace(endpoint_url, "http://127.0.0.1:9000")
    line = re.sub(r"(port|buckets of theirs:) \d+", r"\1 N", line)
    line = re.sub(r"\d{4}([/-])\d\d\1\d\d", "DATE", line)
    line = re.sub(r"\d\d:\d\d:\d\dZ", "TIME", line)
    return re.sub(r'(in |"seconds": )\d+\.\d+', r"\g<1>SECONDS", line)


def test_the_examples_show_what_the_command_tells(rclone_server: S3Server, tmp_path: Path) -> None:
    write(tmp_path / "src", HERE)
    assert len(BLOCKS) == 1
    for asked, shown in examples():
        words = shlex.split(asked, comments=True)
        if words[0] == "rm":
            Path(words[1]).unlink()
            continue
        if words[0] == "echo":
            Path(words[3]).write_text(f"{words[1]}\n")
            continue
        told = command(rclone_server, *words[1:], AWS_REGION="us-east-1")
        lines = [plain(each, rclone_server.endpoint_url) for each in told.output.splitlines()]
        expected = [plain(each, "http://127.0.0.1:9000") for each in shown]
        # It stands for lines that are left out; and the server has buckets of other tests.
        if "…" not in expected and words[1] != "buckets":
            assert len(lines) == len(expected), (asked, lines)
        for line in expected:
            pattern = re.escape(line).replace("…", ".*")
            assert line == "…" or any(re.fullmatch(pattern, each) for each in lines), (line, lines)


def test_every_command_has_an_example_that_it_understands() -> None:
    lines = re.findall(r"^\$ (ingest .*)", README, re.MULTILINE)
    seen = set()
    for line in lines:
        _, name, *words = shlex.split(line, comments=True)
        seen.add(name)
        asked = ALL_COMMANDS[name]
        asked.make_parser(click.Context(asked)).parse_args(words)
    assert seen == set(ALL_COMMANDS)


@pytest.mark.parametrize("name", sorted(ALL_COMMANDS))
def test_every_option_of_a_command_is_told(name: str) -> None:
    for parameter in ALL_COMMANDS[name].params:
        for option in (*parameter.opts, *parameter.secondary_opts):
            if option.startswith("--"):
                assert re.search(rf"(?<![\w-]){option}(?![\w-])", README), option


def test_every_option_that_is_told_exists() -> None:
    known = {
        option
        for each in ALL_COMMANDS.values()
        for parameter in each.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", COMMAND)) <= known
