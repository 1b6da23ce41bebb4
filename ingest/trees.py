"""The two ends of a transfer: a directory of this machine, or what is below a prefix of a store."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, IngestError, NotFound, StoreError, StoreUnreachable
from ingest.files.deleting import delete
from ingest.files.landing import Landing
from ingest.files.named import Missed
from ingest.files.nowhere import Nowhere
from ingest.files.scan import LocalEntry, Problem, Scan, scan
from ingest.planning.filters import key_filter, subtree_filter
from ingest.planning.plan import Side
from ingest.storage.base import Outcome
from ingest.storage.bulk import in_threads
from ingest.storage.etags import etag_of, is_md5

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from ingest.planning.filters import Rule
    from ingest.planning.names import Names
    from ingest.storage.base import Entry, Store, Transfer

_LOOKED_UP = 1_000


@dataclass(frozen=True, slots=True)
class LocalTree:
    """The files below ``root``."""

    root: Path
    follow_symlinks: bool = False
    empty_dirs: bool = False

    def side(
        self,
        report: Callable[[Problem], None],
        rules: tuple[Rule, ...] = (),
        names: Names | None = None,
        *,
        may_be_missing: bool = False,
    ) -> Side:
        """Return the files as one side of a plan; what cannot be read is reported.

        Directories of which ``rules`` and ``names`` leave everything out are not read, and nothing
        that they leave out is reported; files they leave out are still there. Raises ``NotFound``
        where the directory does not exist, unless it ``may_be_missing``.
        """
        chosen, excluded = key_filter(rules, names), subtree_filter(rules, names)
        missed = Missed(self.root, filter(key_filter(rules), names or ()))

        def found(problem: Problem) -> None:
            key = problem.key
            missed.seen(problem)
            if not excluded(key) if key.endswith("/") else chosen(key):
                report(problem)

        pruned = excluded if rules or names is not None else None
        how = Scan(found, self.follow_symlinks, self.empty_dirs, pruned)
        entries: Iterable[Entry]
        try:
            entries = scan(self.root, how)
        except NotFound:
            if not may_be_missing:
                raise
            entries = ()
        if names is not None and not may_be_missing:
            entries = missed.follow(entries, report)
        return Side(entries, is_tree=True, hash_of=self._md5)

    def shown(self, key: str) -> str:
        """Return what the file of ``key`` is called in messages."""
        return os.path.join(self.root, "") + key  # noqa: PTH118 - as it was given, not normalised

    def path(self, key: str) -> Path:
        """Return where the file of ``key`` is."""
        return self.root / key

    def landing(self, *, overwrite: bool) -> Landing:
        """Return what writes files here."""
        return Landing(self.root, overwrite=overwrite)

    def delete(self, keys: Iterable[str], how: Transfer) -> Iterator[Outcome]:  # noqa: ARG002 - as of a store
        """Delete files, and directories whose keys are given, where empty; the others stay."""
        for key, failure in delete(self.root, keys):
            yield Outcome(key, 0, failure)

    def entry(self, key: str) -> Entry:
        """Return the one file ``key``, which may be a link. Raises ``NotFound``, ``StoreError``."""
        path = self.path(key)
        try:
            found = path.stat()
        except FileNotFoundError:
            raise NotFound(f"{path} does not exist") from None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from None
        if not stat.S_ISREG(found.st_mode):
            below = "for a directory: --recursive" if stat.S_ISDIR(found.st_mode) else None
            raise StoreError(f"{path} is no regular file", hint=below)
        return LocalEntry(key, found.st_size, found.st_mtime, None, found)

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
        # What would be copied by way of this machine is sent as well from where it is.
        hash_of = _md5_etag if self.store.copies_itself else None
        return Side(self.store.list(self.prefix), self.prefix, hash_of=hash_of)

    def named(
        self, names: Iterable[str], report: Callable[[Problem], None], threads: int
    ) -> Iterator[Entry]:
        """Yield the objects of ``names``, relative to the prefix and in order; report the others.

        Each is asked for by itself: a few among millions take a few requests. Raises what would be
        the same for all: ``BucketNotFound``, ``StoreUnreachable`` and ``CredentialsRefused``.
        """

        def look(name: str) -> tuple[str, Entry | IngestError]:
            try:
                return name, self.entry(self.prefix + name)
            except (BucketNotFound, StoreUnreachable):
                raise
            except IngestError as error:
                return name, error

        rest, is_sure = iter(names), False
        while batch := list(islice(rest, _LOOKED_UP)):
            found = dict(in_threads(look, batch, threads))
            if not is_sure and all(isinstance(each, IngestError) for each in found.values()):
                # Asked for an object, a store does not say that there is no such bucket, nor
                # whether it is the key that is wrong: some refuse what is not there.
                next(self.store.list(self.prefix), None)
            is_sure = True
            for name in batch:
                match found[name]:
                    case NotFound():
                        url = self.shown(self.prefix + name)
                        report(Problem(name, "missing", f"{url} does not exist"))
                    case IngestError() as error:
                        report(Problem(name, "missing", str(error)))
                    case entry:
                        yield entry

    def delete(self, keys: Iterable[str], how: Transfer) -> Iterator[Outcome]:
        """Delete objects."""
        return self.store.delete_many(keys, how)

    def entry(self, key: str) -> Entry:
        """Return the one object ``key``, a whole one. Raises ``NotFound``."""
        return self.store.head(key)

    def shown(self, key: str) -> str:
        """Return the URL of ``key``, a whole one."""
        return f"{self.store.url}/{key}"


@dataclass(frozen=True, slots=True)
class NoTree:
    """Where nothing is and nothing stays: what is moved there is read, checked and dropped."""

    def side(self) -> Side:
        """Return nothing as one side of a plan."""
        return Side(())

    def shown(self, key: str) -> str:  # noqa: ARG002 - as of a tree
        """Return what it is called in messages."""
        return "nowhere"

    def landing(self, *, overwrite: bool) -> Landing:  # noqa: ARG002 - as above
        """Return what drops files."""
        return Nowhere()

    def delete(self, keys: Iterable[str], how: Transfer) -> Iterator[Outcome]:  # noqa: ARG002 - as above
        """Delete nothing."""
        return iter(())

    def entry(self, key: str) -> Entry:
        """Raise ``NotFound``."""
        raise NotFound(f"{key} is nowhere")


def _md5_etag(entry: Entry) -> str | None:
    return entry.etag if entry.etag and is_md5(entry.etag) else None
