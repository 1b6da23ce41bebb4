"""Bytes and files -> a store, each with its content type and the SHA-256 of its content."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.storage.base import PutItem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.storage.base import Lake

_DEFAULT_TYPE = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Upload:
    """Bytes, or the path of a file, and their key. The type is guessed where it is not given."""

    key: str
    source: bytes | Path
    content_type: str | None = None


def upload(store: Lake, uploads: Iterable[Upload]) -> int:
    """Write all of ``uploads`` and return their bytes; metadata ``sha256`` is of the content.

    Raises the first error there was, once those already under way have ended: what is written by
    then stays.
    """
    size = 0
    failure = None
    for outcome in store.put_many(map(_prepare, uploads)):
        failure = failure or outcome.error
        size += outcome.size
    if failure:
        raise failure
    return size


def delete(store: Lake, keys: Iterable[str]) -> None:
    """Delete all of ``keys``; raises the first error there was."""
    for failure in [outcome.error for outcome in store.delete_many(keys) if outcome.error]:
        raise failure


def _prepare(item: Upload) -> PutItem:
    guessed = item.content_type or mimetypes.guess_type(item.key)[0] or _DEFAULT_TYPE
    return PutItem(item.key, item.source, guessed, {"sha256": _sha256(item.source)})


def _sha256(source: bytes | Path) -> str:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(source).hexdigest()
