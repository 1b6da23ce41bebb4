"""The two ends of a transfer: a directory of this machine, or what is below a prefix of a store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.errors import NotFound
from ingest.plan import Side
from ingest.scan import Scan, scan
from ingest.storage.etags import etag_of, is_md5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from ingest.scan import Problem
    from ingest.storage.base import Entry, Store


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The files below ``root``."""

    root: Path
    follow_symlinks: bool = False
    empty_dirs: bool = False

    def side(self, report: Callable[[Problem], None], *, may_be_missing: bool = False) -> Side:
        """Return the files as one side of a plan; what cannot be read is reported.

        Raises ``NotFound`` where the directory does not exist, unless it ``may_be_missing``.
        """
        how = Scan(report, self.follow_symlinks, self.empty_dirs)
        entries: Iterable[Entry]
        try:
            entries = scan(self.root, how)
        except NotFound:
            if not may_be_missing:
                raise
            entries = ()
        return Side(entries, is_tree=True, hash_of=self._md5)

    def shown(self, key: str) -> str:
        """Return what the file of ``key`` is called in messages."""
        return os.path.join(self.root, key)  # noqa: PTH118 - as it was given, not normalised

    def path(self, key: str) -> Path:
        """Return where the file of ``key`` is."""
        return self.root / key

    def _md5(self, entry: Entry) -> str | None:
        try:
            return etag_of(self.path(entry.key), None)
        except OSError:
            return None


@dataclass(frozen=True, slots=True)
class StoreTree:
    """The objects below ``prefix`` of ``store``; it is empty or ends in ``/``."""

    store: Store
    prefix: str = ""

    def side(self) -> Side:
        """Return the objects as one side of a plan."""
        return Side(self.store.list(self.prefix), self.prefix, hash_of=_md5_etag)

    def shown(self, key: str) -> str:
        """Return the URL of ``key``, a whole one."""
        return f"{self.store.url}/{key}"


def _md5_etag(entry: Entry) -> str | None:
    return entry.etag if entry.etag and is_md5(entry.etag) else None
