"""The README's part on ``ds3://``: its examples run, and show what the commands tell."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from blackpearl import Blackpearl
from ingest.settings.appliance import APPLIANCE_VARIABLES
from pearls import stalled, told
from stores import write
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
(PART,) = (part for part in README.split("\n## ") if part.startswith("A Spectra BlackPearl"))
FIRST, JOBS = re.findall(r"^```console\n(.*?)^```", PART, re.MULTILINE | re.DOTALL)
HERE = {"z": b"", "a/x.txt": b"hello\n", "a/b/y.csv": b"a,b,c\n"}
LARGE = {name: name.encode() * 500_000 for name in ("f1", "f2", "f3")}
ENDPOINT = "http://blackpearl.example.com"
JOB = "00000061-5bec-4a00-8000-000000000061"


@pytest.fixture
def pearl() -> Iterator[Blackpearl]:
    with Blackpearl(blob_size=400_000) as pearl:
        yield pearl


def examples(block: str) -> Iterator[tuple[str, list[str]]]:
    """Each line after a prompt, and the lines that are shown below it, in any order."""
    for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        asked, *shown = each.splitlines()
        yield asked, sorted(map(plain, shown))


def plain(line: str) -> str:
    """``line`` without what differs from run to run."""
    line = re.sub(r"\d{4}-\d\d-\d\d([ T])\d\d:\d\d:\d\dZ", r"DATE\1TIME", line)
    line = re.sub(r"in \d+\.\d s", "in SECONDS", line)
    line = re.sub(r"BucketNotEmpty: .* \(", "BucketNotEmpty: … (", line)
    return re.sub(r"[0-9a-f]{8}-(…|[0-9a-f-]{27})", "ID", line)


def check(pearl: Blackpearl, block: str, job: str = "") -> None:
    for asked, shown in examples(block):
        words = shlex.split(asked.replace(JOB, job), comments=True)
        output = told(pearl, *words[1:]).output.replace(pearl.endpoint, ENDPOINT)
        assert sorted(map(plain, output.splitlines())) == shown, asked


def test_the_examples_show_what_the_command_tells(pearl: Blackpearl, tmp_path: Path) -> None:
    """S-D24: those of the vendor's README do not run."""
    write(tmp_path / "src", HERE)
    check(pearl, FIRST)


def test_the_examples_of_jobs_go_on_with_what_was_killed(pearl: Blackpearl, tmp_path: Path) -> None:
    write(tmp_path / "large", LARGE)
    assert told(pearl, "mb", "ds3://archive").exit_code == 0
    job = stalled(pearl, "PUT", "upload", "large", "ds3://archive/large", after=3)
    check(pearl, JOBS, job)
    assert pearl.contents("archive").keys() == {f"large/{name}" for name in LARGE}


def test_every_setting_is_told() -> None:
    for variable in APPLIANCE_VARIABLES:
        assert f"`{variable.name}`" in PART
