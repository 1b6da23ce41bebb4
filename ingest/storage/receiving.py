"""Objects on their way from a bucket: small ones in one piece, large ones in parts."""

from __future__ import annotations

import functools
import hashlib
import re
import threading
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.files.attributes import Attributes
from ingest.storage.answers import Failed, is_encrypted
from ingest.storage.api import METADATA, Request, metadata_in
from ingest.storage.attempts import Stop, after, patiently
from ingest.storage.base import Outcome
from ingest.storage.bulk import ByteBudget
from ingest.storage.sending import BURSTS, SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.files.landing import Landing
    from ingest.files.partial import Partial
    from ingest.storage.api import Answer, Api
    from ingest.storage.base import Entry, GetItem, Transfer
    from ingest.storage.connection import Clients

LARGE = 16 * 1024**2
"""Bytes from which an object is fetched in parts, so that it can be resumed."""
_PART = 8 * 1024**2
_PARTS_AT_ONCE = 6
_HELD = 64 * 1024**2
"""Bytes of small objects that are held at one time, over all threads."""
_MD5 = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def told_part_size(api: Api, entry: Entry, count: int) -> int | None:
    """Return the bytes of each of the ``count`` parts of an object, where the store tells.

    Raises ``Failed`` where it may tell later.
    """
    try:
        size = api.call("HEAD", entry.key, {"partNumber": "1"}).size
    except Failed as failed:
        if failed.passes:
            raise
        return None  # many stores know nothing of part numbers
    return size if size and -(-entry.size // size) == count else None


class Receiver:
    """Fetches the items of one bulk, from any number of threads."""

    def __init__(
        self,
        bucket: str,
        clients: Clients,
        api: Api,
        landing: Landing,
        how: Transfer,
    ) -> None:
        """Fetch from ``bucket`` into ``landing`` as ``how`` says."""
        self._bucket = bucket
        self._clients = clients
        self._api = api
        self._stop = Stop(how.cancelled)
        self._landing = landing
        self._how = how
        self._held = ByteBudget(_HELD)
        self._bursts = threading.Semaphore(BURSTS)
        self._large = threading.Lock()
        self._unfinished: Partial | None = None

    def abandon(self) -> None:
        """After a transfer was cancelled, remove what is there of a file still under way.

        Its own thread may wait for the store for longer than this process lives.
        """
        if self._unfinished and self._how.cancelled.is_set() and not self._how.keeps_cancelled:
            self._unfinished.discard()

    def is_small(self, item: GetItem) -> bool:
        """Whether an item is one for ``get_burst``."""
        return item.entry.size <= SMALL

    def get_burst(self, items: Sequence[GetItem]) -> Iterator[Outcome | Exception]:
        """Fetch small items at once; yield what became of each, in order, or why it failed.

        The first attempts at all of them are made together, and those after it one by one.
        """
        self._stop.check()
        with self._bursts:
            answers = self._api.burst(map(_request, items))
        for item, answer in zip(items, answers, strict=True):
            try:
                yield self._get_small(item, answer)
            except Exception as error:  # noqa: BLE001 - told for this item
                yield error

    def get(self, item: GetItem) -> Outcome:
        """Fetch one item. Raises ``Failed``, ``Halt``, and what the file system raises."""
        self._stop.check()
        if item.entry.size >= LARGE:
            with self._large:
                return self._get_large(item)
        taken = self._held.take(item.entry.size)
        try:
            self._how.pace(item.entry.size)
            return self._get_small(item)
        finally:
            self._held.give(taken)

    def _get_small(self, item: GetItem, first: Answer | Failed | None = None) -> Outcome:
        """Fetch an item; ``first`` is what came of a first attempt, where there was one."""
        key, size = item.entry.key, item.entry.size
        call = after(first, lambda: self._api.answer_to(_request(item)))
        answer = patiently(call, self._stop, self._clients.connection.patience_s)
        if len(answer.body) != size:
            raise StoreError(
                f"it has {self._api.head(key).size:,} bytes, but {size:,} when it was listed"
            )
        self._check(key, answer)
        # A listing often has the time to the millisecond, where this answer has whole seconds.
        modified = max(answer.modified, item.entry.modified)
        attributes = self._attributes(answer.headers, modified)
        landed = self._landing.write(item.path, answer.body, attributes=attributes)
        self._how.moved(size)
        return Outcome(item.path, size, existed=not landed)

    def _attributes(self, headers: Mapping[str, str], modified: float) -> Attributes:
        """Return what a file gets: the object's time, or what the object has of a file."""
        if not self._how.preserve:
            return Attributes(round(modified * 1e9))
        from ingest.storage.attributes import read  # noqa: PLC0415 - the daily run fetches nothing

        return read(metadata_in(headers), modified)

    def _check(self, key: str, answer: Answer) -> None:
        """Compare what came with the hash the store has of it, if it has one."""
        stored = answer.headers.get(f"{METADATA}sha256", "")
        if _SHA256.fullmatch(stored):
            came = hashlib.sha256(answer.body).hexdigest()
            if came == stored:
                return
        elif not _MD5.fullmatch(answer.etag):
            return
        else:
            stored = answer.etag
            came = hashlib.md5(answer.body, usedforsecurity=False).hexdigest()
            if came == stored or self._is_encrypted(key, answer):
                return
        raise StoreError(f"what came has the hash {came}, the store's is {stored}")

    def _is_encrypted(self, key: str, answer: Answer) -> bool:
        """Whether the object is encrypted with a key of its own; some say so to HEAD alone."""
        if is_encrypted(answer.headers):
            return True
        call = functools.partial(self._api.call, "HEAD", key)
        found = patiently(call, self._stop, self._clients.connection.patience_s)
        return is_encrypted(found.headers)

    def _get_large(self, item: GetItem) -> Outcome:
        # The daily run gets none.
        from ingest.storage.receiving_parts import Receiving, Wanted, expected, headers  # noqa: PLC0415

        entry, how = item.entry, self._how
        identity = f"{self._bucket}/{entry.key}/{entry.etag}" if entry.etag else None
        what = f"cannot read s3://{self._bucket}/{entry.key}{self._clients.at}"
        wanted = Wanted(self._api, what, entry, how, Stop(how.cancelled))
        told = expected(wanted, _PART, multipart_etag=self._clients.provider.multipart_etag)
        attributes = self._attributes(headers(wanted) if how.preserve else {}, entry.modified)
        with self._landing.open(
            *(item.path, entry.size),
            part_size=told.part_size,
            identity=identity,
            attributes=attributes,
        ) as partial:
            how.moved(entry.size - sum(part.size for part in partial.missing))
            self._unfinished = partial
            receiving = Receiving(wanted, partial, told)
            try:
                receiving.run(_PARTS_AT_ONCE)
            except BaseException:
                cancelled = how.cancelled.is_set()
                if not (how.keeps_cancelled if cancelled else how.keep_partial):
                    partial.discard()
                raise
            landed = partial.commit(check=lambda _: receiving.check())
        return Outcome(item.path, entry.size, existed=not landed)


def _request(item: GetItem) -> Request:
    # A byte more than there should be: of a larger object no more is read than that.
    return Request("GET", item.entry.key, {}, {}, most=item.entry.size + 1)
