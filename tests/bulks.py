"""What tests of stores share: short ways to move objects in bulk, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.files.landing import Landing
from ingest.storage.base import GetItem, PutItem, Transfer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ingest.storage.base import Outcome
    from ingest.storage.s3 import S3Store


TYPE = "text/plain"
SMALL_LARGE = 64 * 1024
"""What is large enough for parts, in tests."""


def put(store: S3Store, items: Iterable[PutItem], how: Transfer | None = None) -> list[Outcome]:
    return sorted(store.put_many(items, how or Transfer()), key=lambda outcome: outcome.key)


def get(
    store: S3Store, root: Path, items: Iterable[GetItem], how: Transfer | None = None
) -> list[Outcome]:
    how = how or Transfer()
    with Landing(root, overwrite=how.overwrite) as landing:
        return sorted(store.get_many(items, landing, how), key=lambda outcome: outcome.key)


def text(key: str, content: bytes = b"content") -> PutItem:
    return PutItem(key, content, TYPE)


def errors(outcomes: Iterable[Outcome]) -> dict[str, str]:
    return {outcome.key: str(outcome.error) for outcome in outcomes if outcome.error}
