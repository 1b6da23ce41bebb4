"""TMDB's data out of the raw zone again: that of some days, or all of it.

What a purge guarantees:

* Only what runs make is deleted: objects and manifests under their exact keys, in every format,
  and what a killed run left of them in a directory. Whatever else is in the zone stays, and is
  told.
* A partition's manifest goes first, so that no reader finds one over objects half of which are
  gone. Where it cannot be deleted, the partition stays whole.
* Every version goes, a key's latest one last: were it the first, a reader would find the one
  before it. Where an older one cannot be deleted, the latest stays.
* The same purge again completes one that was cut short: what is there is told by the names alone.
* What a second look still finds is not reported as deleted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Protocol

from ingest.backfill.windows import is_of_a_backfill
from ingest.errors import NotFound, StoreError
from ingest.fetcher import DATASETS
from ingest.files.paths import PARTIAL
from ingest.files.scan import Scan, scan
from ingest.operation import Operation, from_problem
from ingest.rawzone import LAYOUT, MANIFEST, Partition
from ingest.settings import DEFAULT_LAKE, calendar_day
from ingest.storage.connection import Clients, Connection
from ingest.storage.local import LocalStore
from ingest.storage.s3 import S3Store
from ingest.storage.versions import Version, delete_versions, list_versions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from datetime import date
    from pathlib import Path

    from ingest.files.scan import Problem
    from ingest.operation import Status
    from ingest.settings import Settings
    from ingest.storage.versions import Deleted

_FOLDERS = {
    dataset.folder: dataset
    for listed in DATASETS.values()
    for dataset in (listed, listed.details)
    if dataset
}


@dataclass(frozen=True, slots=True)
class Days:
    """The days that are meant: each of ``dates``, all before a day, or every one there is.

    Backfills are of no day: only ``every`` means them.
    """

    dates: frozenset[date] = frozenset()
    before: date | None = None
    every: bool = False

    def __contains__(self, day: date | None) -> bool:
        """Whether ``day`` is meant; None stands for what is in no day's partition."""
        if self.every or day is None:
            return self.every
        return day in self.dates or (self.before is not None and day < self.before)


def purge(settings: Settings, days: Days, *, dry_run: bool) -> Iterator[Operation]:
    """Delete the partitions of ``days`` in the lake that ``settings`` name, and in its copy.

    Yields what is done, in that order; with ``dry_run`` what would be, and touches nothing. Holds
    the names of what is to go in memory, a few for each day. Raises ``NotFound`` where there is no
    such lake, ``CredentialsRefused`` and ``StoreError``.
    """
    for lake in _lakes(settings):
        yield from _purge(lake, settings.raw_zone_path, days, dry_run=dry_run)


def _purge(lake: _Lake, zone: str, days: Days, *, dry_run: bool) -> Iterator[Operation]:
    found: list[Version] = []
    for each in _find(lake, zone, days):
        if isinstance(each, Operation):
            yield each
        else:
            found.append(each)
    if dry_run:
        yield from (
            _told(lake, version, "planned") for stage in _stages(found) for version in stage
        )
    elif found:
        left = yield from _delete(lake, found)
        yield from _look_again(lake, _find(lake, zone, days), left)


def _find(lake: _Lake, zone: str, days: Days) -> Iterator[Version | Operation]:
    """Yield what runs made on ``days``, and what is to be told of all else that is there."""
    for each in lake.find(f"{zone}/"):
        if isinstance(each, Operation):
            yield each
            continue
        key = _without_partial(each.key)
        partition = _partition(zone, key)
        if (partition.day if partition else None) not in days:
            continue
        of_a_run = partition and (key == partition.manifest_key or partition.owns(key))
        if of_a_run or is_of_a_backfill(zone, key):
            yield each
        elif each.latest and not each.marker:
            yield _told(lake, each, "skipped", "it stays: no run makes such a name")


def _partition(zone: str, key: str) -> Partition | None:
    """Return the partition in whose directory ``key`` is, or None."""
    directory, _, _ = key.rpartition("/")
    layout, _, _ = LAYOUT.rpartition("/")
    named = {"folder": r"(?P<folder>[^/]+)", "zone": re.escape(zone)}
    digits = {"yyyy": "([0-9]{4})", "mm": "([0-9]{2})", "dd": "([0-9]{2})"}
    match = re.fullmatch(layout.format(**named, **digits), directory)
    if not match or match["folder"] not in _FOLDERS:
        return None
    day = calendar_day("-".join(match.groups()[1:]))
    return Partition(zone, _FOLDERS[match["folder"]], day) if day else None


def _without_partial(key: str) -> str:
    """Return the key that a partial file, which a killed run has left, was to become."""
    directory, _, name = key.rpartition("/")
    partial = PARTIAL.fullmatch(name)
    return f"{directory}/{partial[1]}" if partial else key


def _is_manifest(version: Version) -> bool:
    return version.key.endswith(f"/{MANIFEST}")


def _stages(found: Sequence[Version]) -> Iterator[list[Version]]:
    """Yield what can be deleted together, in turn: manifests first, of each key the latest last."""

    def stage(version: Version) -> tuple[bool, bool]:
        return not _is_manifest(version), version.latest

    for _, together in groupby(sorted(found, key=stage), stage):
        yield list(together)


def _delete(
    lake: _Lake, found: Sequence[Version]
) -> Generator[Operation, None, set[tuple[str, str | None]]]:
    """Delete ``found``, stage by stage; return key and id of each that had to stay."""
    left = set()
    held: set[str] = set()
    for stage in _stages(found):
        free = []
        for version in stage:
            if held.isdisjoint({version.key, _directory(version)}):
                free.append(version)
                continue
            left.add((version.key, version.id))
            reason = "it stays with its manifest, or an older version, that could not be deleted"
            yield _told(lake, version, "skipped", reason)
        for version, error in lake.delete(free):
            if not error:
                yield _told(lake, version, "done")
                continue
            left.add((version.key, version.id))
            held.add(version.key)
            if _is_manifest(version):
                held.add(_directory(version))
            yield Operation("delete", _url(lake, version), status="failed", error=error)
    return left


def _look_again(
    lake: _Lake, found: Iterator[Version | Operation], left: set[tuple[str, str | None]]
) -> Iterator[Operation]:
    """Yield as failed what is there though it was deleted, or has come since."""
    for each in found:
        if isinstance(each, Version) and (each.key, each.id) not in left:
            url = _url(lake, each)
            error = StoreError(
                f"cannot delete {url}: it is there still, or anew",
                hint="a run may have landed it meanwhile; purge again",
            )
            yield Operation("delete", url, status="failed", error=error)


def _directory(version: Version) -> str:
    return version.key.rpartition("/")[0]


def _url(lake: _Lake, version: Version) -> str:
    return f"{lake.url}/{version.key}"


def _told(lake: _Lake, version: Version, status: Status, reason: str = "") -> Operation:
    if not reason and version.id is not None and (version.id, version.latest) != ("null", True):
        kind = "delete marker" if version.marker else "version"
        reason = f"{kind} {version.id}{'' if version.latest else ', not the latest'}"
    return Operation("delete", _url(lake, version), size=version.size, status=status, reason=reason)


class _Lake(Protocol):
    """Where runs land, with the versions that it keeps."""

    @property
    def url(self) -> str:
        """What it is called in messages."""

    def find(self, prefix: str) -> Iterator[Version | Operation]:
        """Yield every version below ``prefix``, and what is to be told of what is no object."""

    def delete(self, versions: Sequence[Version]) -> Iterator[Deleted]:
        """Delete ``versions`` for good, in any order; yield what became of each."""


def _lakes(settings: Settings) -> list[_Lake]:
    """Return where runs with these settings land."""
    if settings.bucket:
        connection = Connection(settings.endpoint_url, settings.region, settings.access_key)
        bucket = _Bucket(S3Store(settings.bucket, Clients(connection)))
        return [bucket, _Directory(settings.local_dir)] if settings.local_dir else [bucket]
    root = settings.local_dir or DEFAULT_LAKE
    if not root.is_dir():
        hint = "BUCKET_NAME, or LOCAL_DIR, says where the lake is"
        raise NotFound(f"there is no lake {root}", hint=hint)
    return [_Directory(root)]


class _Bucket:
    def __init__(self, store: S3Store) -> None:
        self._store = store
        self.url = store.url

    def find(self, prefix: str) -> Iterator[Version | Operation]:
        listed = list_versions(self._store.clients, self._store.bucket, prefix)
        if listed is None:
            reason = "this store does not tell of older versions: if it keeps any, they stay"
            yield Operation("scan", f"{self.url}/{prefix}", status="skipped", reason=reason)
        keys = set()
        for version in listed or ():
            keys.add(version.key)
            yield version
        # Also where versions are listed: a store may know the question, and have no answer.
        for entry in self._store.list(prefix):
            if entry.key not in keys:
                yield Version(entry.key, size=entry.size)

    def delete(self, versions: Sequence[Version]) -> Iterator[Deleted]:
        plain = {version.key: version for version in versions if version.id is None}
        for outcome in self._store.delete_many(plain):
            yield plain[outcome.key], outcome.error
        others = [version for version in versions if version.id is not None]
        yield from delete_versions(self._store.clients, self._store.bucket, others)


class _Directory:
    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = str(root)

    def find(self, prefix: str) -> Iterator[Version | Operation]:
        problems: list[Problem] = []
        try:
            entries = scan(self._root / prefix, Scan(problems.append))
        except NotFound:
            return
        for entry in entries:
            yield Version(prefix + entry.key, size=entry.size)
        for problem in problems:
            if problem.kind == "partial":
                yield Version(prefix + problem.key)
            else:
                yield from_problem(problem)

    def delete(self, versions: Sequence[Version]) -> Iterator[Deleted]:
        by_key = {version.key: version for version in versions}
        for outcome in LocalStore(self._root).delete_many(by_key):
            yield by_key[outcome.key], outcome.error
