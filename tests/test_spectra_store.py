"""What every store promises, on a BlackPearl: the tests of stores that are for any of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest

import test_store
import test_store_asked
from blackpearl import Blackpearl
from bulks import SMALL_LARGE
from ingest.storage.spectra import download, upload
from pearls import PearlServer, StoreOnPearl

if TYPE_CHECKING:
    from collections.abc import Iterator

for _name, _each in (vars(test_store) | vars(test_store_asked)).items():
    if _name.startswith("test_") and {"server", "store"} & set(inspect.signature(_each).parameters):
        globals()[_name] = _each


@pytest.fixture(params=[1 << 30, 5000], ids=["one blob", "blobs"])
def server(request: pytest.FixtureRequest) -> Iterator[PearlServer]:
    with Blackpearl(blob_size=request.param, chunk_blobs=7, shuffled=True) as pearl:
        yield PearlServer(pearl)


@pytest.fixture
def store(server: PearlServer, monkeypatch: pytest.MonkeyPatch) -> StoreOnPearl:
    monkeypatch.setattr(upload, "LARGE", SMALL_LARGE)
    monkeypatch.setattr(download, "LARGE", SMALL_LARGE)
    return StoreOnPearl(server)


@pytest.fixture(autouse=True)
def _stores_on_pearls(monkeypatch: pytest.MonkeyPatch) -> None:
    for suite in (test_store, test_store_asked):
        monkeypatch.setattr(suite, "store_of", StoreOnPearl)


def test_the_suite_is_here() -> None:
    names = [name for name in globals() if name.startswith("test_")]
    assert len(names) > 20
