"""A bucket of a Spectra S3 appliance."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import BucketNotFound, IngestError, NotFound
from ingest.files.landing import Landing
from ingest.storage.base import PLAIN, Entry, GetItem, Head, Outcome, PutItem, Transfer
from ingest.storage.bulk import in_threads
from ingest.storage.spectra import checksums, documents, listing
from ingest.storage.spectra.batches import batches
from ingest.storage.spectra.heads import Listed, head_as_listed, head_of, version_of
from ingest.storage.spectra.jobs import MOST_OBJECTS, JobOptions, Jobs, Wanted
from ingest.storage.spectra.patience import Stop
from ingest.storage.spectra.place import Place, rest
from ingest.storage.spectra.reading import stream
from ingest.storage.spectra.receiving import Receiver
from ingest.storage.spectra.sending import Sender
from ingest.storage.spectra.wire import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.storage.base import CopyItem, Prefix
    from ingest.storage.spectra.documents import Job
    from ingest.storage.spectra.heads import ObjectHead
    from ingest.storage.spectra.wire import Wire

_DELETE_BATCH = 1_000
_MISSING = frozenset({"NoSuchKey", "NotFound", "ObjectNotFound"})
_HELD = 64 * 1024**2
"""Bytes of contents that are in memory already, in one job."""
_COPIED = 2 * 1024**3
"""Bytes that are on this machine's disk at one time while they are copied, but for one object."""


class SpectraStore:
    """Objects of one bucket. ``options`` are for the jobs that write and read them."""

    def __init__(self, bucket: str, wire: Wire, options: JobOptions | None = None) -> None:
        """Make no request yet."""
        self.bucket = bucket
        self.wire = wire
        self.jobs = Jobs(wire)
        self._options = options or JobOptions()
        self._place = Place(wire, bucket)
        self._most = min(max(self._options.objects, 1), MOST_OBJECTS)

    @property
    def url(self) -> str:
        """``ds3://bucket``."""
        return self._place.url

    # What is there

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """Yield the objects whose keys begin with ``prefix``, and come after the key ``after``."""
        return listing.list_objects(self._place, prefix, after)

    def list_directory(self, prefix: str = "") -> Iterator[Entry | Prefix]:
        """Yield what is directly below ``prefix``."""
        return listing.list_directory(self._place, prefix)

    def list_versions(self, prefix: str = "") -> Iterator[Listed]:
        """Yield every version that is kept of the objects below ``prefix``, the newest first."""
        return listing.list_versions(self._place, prefix)

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory``."""
        found = self.list_directory(directory)
        return {entry.key for entry in found if isinstance(entry, Entry)}

    def head(self, key: str, version_id: str | None = None) -> Head:
        """Return what is known of an object, or of a version of it."""
        return head_of(self._place, key, version_id)

    def has_content(self, entry: Entry, path: Path) -> bool | None:
        """Compare the checksums of the object's blobs with those of the file."""
        head = head_of(self._place, entry.key, version_of(entry))
        offsets = sorted(head.checksums)
        if not offsets or offsets[0]:
            return None
        ends = [*offsets[1:], head.size]
        with path.open("rb") as file:
            return all(
                checksums.of_file(checksums.kind_of(head.checksum_type), file, end - offset)
                == head.checksums[offset]
                for offset, end in zip(offsets, ends, strict=True)
            )

    # Content

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        return b"".join(self.stream(key))

    def stream(
        self, key: str, offset: int = 0, length: int | None = None, version_id: str | None = None
    ) -> Iterator[bytes]:
        """Yield an object's content from ``offset`` on, at most ``length`` bytes, in pieces.

        Of a version, where it is named. Raises ``NotFound``.
        """
        try:
            part = None
            if offset or length is not None:
                rest = max(head_of(self._place, key, version_id).size - offset, 0)
                part = (offset, rest if length is None else min(length, rest))
            if part is None or part[1]:
                wanted = Wanted(key, version_id=version_id, part=part)
                yield from stream(self._place, self.jobs, self._options, wanted)
        except IngestError as error:
            raise self._place.error("read", key, error) from None

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Write items, a job after the other; its blobs side by side."""
        sender = Sender(self._place, self.jobs, self._options, how)
        for batch in batches(items, self._most, _held_by, _HELD):
            if how.cancelled.is_set():
                return
            yield from sender.put(batch)

    def resume(
        self, job: Job, items: Iterable[PutItem], how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Go on with a PUT job, of whose objects ``items`` are; what it has already is not sent.

        A file of which it has a part, and that may have changed since, is an error.
        """
        return Sender(self._place, self.jobs, self._options, how).resume(job, items)

    def get_many(
        self, items: Iterable[GetItem], landing: Landing, how: Transfer = PLAIN
    ) -> Iterator[Outcome]:
        """Fetch items, a job after the other; its blobs side by side."""
        receiver = Receiver(self._place, self.jobs, self._options, landing, how)
        for batch in batches(items, self._most, lambda item: (item.entry.key, 0), _HELD):
            if how.cancelled.is_set():
                return
            yield from receiver.get(batch)

    # Copies

    @property
    def copies_itself(self) -> bool:
        """False: an appliance copies nothing."""
        return False

    def copies_from(self, other: object) -> str | None:
        """Return the bucket of ``other`` where that is of the same appliance."""
        if isinstance(other, SpectraStore) and other.wire.appliance == self.wire.appliance:
            return other.bucket
        return None

    def copy_many(self, items: Iterable[CopyItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Copy objects by way of this machine, with their metadata as it is."""
        how = replace(how, preserve=False)
        for batch in batches(items, self._most, lambda item: (item.key, item.origin.size), _COPIED):
            if how.cancelled.is_set():
                return
            with tempfile.TemporaryDirectory(prefix="ingest-") as directory:
                yield from self._copy(batch, Path(directory), how)

    def _copy(self, items: Sequence[CopyItem], directory: Path, how: Transfer) -> Iterator[Outcome]:
        """Copy ``items``, each in a file of ``directory`` meanwhile, by its number."""
        puts: dict[str, PutItem] = {}
        gets: dict[str, dict[str, GetItem]] = {}
        for number, (item, head) in enumerate(in_threads(self._look_at_origin, items, how.threads)):
            if isinstance(head, IngestError):
                yield Outcome(item.key, 0, self._place.error("copy to", item.key, head))
                continue
            path = str(number)
            kind = item.content_type or head.content_type or "application/octet-stream"
            puts[path] = PutItem(
                item.key, directory / path, kind, {**head.metadata, **item.metadata}
            )
            # Of exactly this version.
            entry = Listed(head.key, head.size, head.modified, head.etag, head.version_id)
            gets.setdefault(item.bucket or self.bucket, {})[path] = GetItem(entry, path)
        for bucket, wanted in gets.items():
            origin = SpectraStore(bucket, self.wire, self._options)
            with Landing(directory) as landing:
                for outcome in origin.get_many(
                    wanted.values(), landing, replace(how, moved=PLAIN.moved)
                ):
                    if outcome.error:
                        yield Outcome(puts.pop(outcome.key).key, 0, outcome.error)
        yield from self.put_many(puts.values(), how)

    def _look_at_origin(self, item: CopyItem) -> tuple[CopyItem, ObjectHead | IngestError]:
        """Return what is known of what is to be copied, or why it cannot be."""
        place = Place(self.wire, item.bucket or self.bucket)
        try:
            return item, head_as_listed(place, item.origin)
        except IngestError as error:
            return item, error

    # Deletes

    def delete_many(self, keys: Iterable[str], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Delete by the thousand; one that does not exist counts as deleted."""
        remaining = iter(keys)
        while not how.cancelled.is_set() and (batch := tuple(islice(remaining, _DELETE_BATCH))):
            # XML cannot carry every character; such a key goes into the path of a request.
            odd = [key for key in batch if not documents.fits(key)]
            yield from in_threads(self._delete, odd, how.threads)
            plain = [key for key in batch if documents.fits(key)]
            if plain:
                yield from self._delete_batch(plain)

    def delete_below(self, directory: str) -> bool | None:
        """Delete all there is below ``directory`` by one request, but for what it may not be for.

        It would take old versions along, and a path of odd segments may be folded on its way.
        """
        folder = directory.removesuffix("/")
        if {"", ".", ".."} & set(folder.split("/")) or self._place.policy().keeps_old:
            return None
        query = {"bucket_id": self.bucket, "recursive": None}
        what = f"cannot delete {self.url}/{directory}"
        try:
            self.wire.call(rest(what, "DELETE", "folder", folder, query=query), Stop())
        except BucketNotFound:
            raise
        except NotFound:
            return False
        return True

    def _delete(self, key: str) -> Outcome:
        request = Request(self._place.what("delete", key), "DELETE", self._place.path(key))
        try:
            self.wire.call(request, Stop())
        except IngestError as error:
            if isinstance(error, BucketNotFound) or not isinstance(error, NotFound):
                return Outcome(key, 0, error)
        return Outcome(key, 0)

    def _delete_batch(self, keys: Sequence[str]) -> Iterator[Outcome]:
        what = f"cannot delete objects of {self.url}"
        query = {"delete": None}
        body = documents.delete(dict.fromkeys(keys))
        request = Request(what, "POST", self._place.path(), query, {}, body)
        try:
            problems = self.wire.read(request, lambda body: documents.items(body, "Error"), Stop())
        except IngestError as error:
            for key in keys:
                yield Outcome(key, 0, self._place.error("delete", key, error))
            return
        failed = {each.get("Key"): each for each in problems}
        for key in keys:
            yield Outcome(key, 0, self._refusal(key, failed.get(key, {})))

    def _refusal(self, key: str, problem: dict[str, str]) -> IngestError | None:
        said = documents.Refusal(problem.get("Code", ""), problem.get("Message", ""))
        if not problem or said.code in _MISSING:
            return None
        return self.wire.error_of(self._place.what("delete", key), said, 0)


def _held_by(item: PutItem) -> tuple[str, int]:
    """Return the key of an item, and how many bytes it has in memory already."""
    return item.key, len(item.source) if isinstance(item.source, bytes) else 0
