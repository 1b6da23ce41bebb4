"""Each sample event is one that the handler takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ingest.event import RunRequest, parse_event
from ingest.fetcher import SERIES
from support import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

SAMPLES = {path.stem: path for path in sorted((REPOSITORY / "events").glob("*.json"))}


@pytest.mark.parametrize("path", SAMPLES.values(), ids=SAMPLES)
def test_a_sample_event_is_known(path: Path) -> None:
    assert isinstance(parse_event(json.loads(path.read_bytes())), RunRequest)


def test_the_samples_show_each_kind_of_event() -> None:
    requests = {name: parse_event(json.loads(path.read_bytes())) for name, path in SAMPLES.items()}
    assert requests["schedule"] == requests["eventbridge_rule"]
    assert requests["schedule"].planned is not None
    assert requests["by_hand"] == RunRequest()
    assert requests["dry_run"].dry_run
    assert requests["one_dataset"].datasets == (SERIES,)
    assert str(requests["backfill_date"].day) == "2026-11-01"
