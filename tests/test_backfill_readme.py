"""The README on backfills: its examples, over the bundled stand-in, and where things land."""

from __future__ import annotations

import re
import shlex

import pytest

from backfills import ingest
from runs import files
from support import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PARTS = re.split(r"^## ", README, flags=re.MULTILINE)
(PART,) = (part for part in PARTS if part.startswith("The whole catalogue"))
(EXAMPLES,) = re.findall(r"^```console\n(.*?)^```", PART, re.MULTILINE | re.DOTALL)
(KEYS,) = re.findall(r"^```text\n(.*?)^```", PART, re.MULTILINE | re.DOTALL)


def timeless(line: str) -> str:
    return re.sub(r", \d+\.\d s$", ", SECONDS", line)


@pytest.fixture(autouse=True)
def _no_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.pacing._SECOND_S", 0.0)


def test_the_examples_show_what_the_command_tells_and_lands() -> None:
    for example in re.split(r"^\$ ", EXAMPLES, flags=re.MULTILINE)[1:]:
        asked, *shown = example.splitlines()
        done = ingest(*shlex.split(asked)[1:])
        assert done.exit_code == 0, done.output
        # The windows end in any order.
        told = sorted(timeless(line) for line in done.stdout.splitlines())
        assert told == sorted(timeless(line) for line in shown)
    assert set(KEYS.splitlines()) - {"…"} <= files().keys()
