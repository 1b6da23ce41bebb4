"""One large object from S3 in parts, so that a later run can go on where this one stopped."""

from __future__ import annotations

import functools
import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.storage.answers import Failed, is_encrypted
from ingest.storage.attempts import Halt, Stop, retried
from ingest.storage.bulk import in_threads
from ingest.storage.etags import etag_of_chunks, etag_of_parts, is_md5, parts_in
from ingest.storage.hashing import FollowingHash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from _typeshed import ReadableBuffer

    from ingest.files.partial import Part, Partial
    from ingest.storage.api import Api
    from ingest.storage.base import Entry, Transfer
    from ingest.storage.reply import Reply

_PIECE = 1 << 20
_LARGEST_PART = 64 << 20
"""An object in larger parts is fetched in smaller ones, and hashed by one thread."""
_WAITING = 2
"""Parts that wait in memory to be hashed, beside those that come."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHANGED = "it has changed since it was listed"


@dataclass(frozen=True, slots=True)
class Expected:
    """In what parts to fetch an object, in bytes, and what hash its content is to have.

    ``hash`` is empty where the store tells none. ``digest`` computes it from the content in order;
    without one, it is that of the parts' MD5s.
    """

    part_size: int
    hash: str = ""
    digest: Callable[[Iterable[ReadableBuffer]], str] | None = None

    @property
    def is_of_parts(self) -> bool:
        """Whether each part is hashed by itself."""
        return bool(self.hash) and self.digest is None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that is to be fetched, and how; ``what`` begins the text of the store's errors."""

    api: Api
    what: str
    entry: Entry
    how: Transfer
    stop: Stop

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raise this package's errors for the failures of requests, and where the work ended."""
        try:
            try:
                yield
            except Halt:
                raise self.stop.failure or StoreError("the transfer was stopped") from None
        except Failed as failed:
            changed = failed.status == HTTPStatus.PRECONDITION_FAILED
            raise StoreError(_CHANGED) if changed else failed.error(self.what) from None


def expected(wanted: Wanted, usual_part: int, *, multipart_etag: bool) -> Expected:
    """Return what the store tells of an object's content, and in what parts to fetch it.

    An ETag that is no MD5 of the whole takes a request to understand. Without ``multipart_etag``,
    that of an object in parts tells nothing. Raises what the store's refusals are.
    """
    etag, size = wanted.entry.etag or "", wanted.entry.size
    if is_md5(etag):
        return Expected(usual_part, etag, functools.partial(etag_of_chunks, part_size=None))
    count = (multipart_etag and parts_in(etag)) or 0
    with wanted.translated():
        part, sha256 = retried(functools.partial(_told, wanted, count), wanted.stop)
    if count and part and -(-size // part) == count:
        if part <= _LARGEST_PART:
            return Expected(part, etag)
        return Expected(usual_part, etag, functools.partial(etag_of_chunks, part_size=part))
    if _SHA256.fullmatch(sha256):
        return Expected(usual_part, sha256, _sha256)
    return Expected(usual_part)


def _told(wanted: Wanted, count: int) -> tuple[int, str]:
    """Return the bytes of the first of ``count`` parts, and the SHA-256 in the metadata.

    Zero and nothing where the store does not say, or has another object by now.
    """
    try:
        query = {"partNumber": "1"} if count > 1 else {}
        head = wanted.api.call("HEAD", wanted.entry.key, query)
        told = head.size, head.headers.get("x-amz-meta-sha256", "")
    except Failed as failed:
        if failed.passes:
            raise
        return 0, ""  # many stores know nothing of part numbers
    return told if head.etag == (wanted.entry.etag or head.etag) else (0, "")


def headers(wanted: Wanted) -> Mapping[str, str]:
    """Return the headers of the object that was listed. Raises what the store's refusals are."""
    entry = wanted.entry
    with wanted.translated():
        head = retried(functools.partial(wanted.api.call, "HEAD", entry.key), wanted.stop)
    if head.etag != (entry.etag or head.etag):
        raise StoreError(_CHANGED)
    return head.headers


def _sha256(content: Iterable[ReadableBuffer]) -> str:
    digest = hashlib.sha256()
    for piece in content:
        digest.update(piece)
    return digest.hexdigest()


class Receiving:
    """The parts of one object on their way into a file, several at a time."""

    def __init__(self, wanted: Wanted, partial: Partial, expected: Expected) -> None:
        """Fetch nothing yet."""
        self._wanted = wanted
        self._partial = partial
        self._expected = expected
        self._digests: dict[int, bytes] = {}
        self._hash = ""

    def run(self, threads: int) -> None:
        """Fetch what is missing, and hash all of it where there is a hash to compare.

        Raises the first failure.
        """
        with self._wanted.translated():
            try:
                following = self._following(threads + _WAITING)
                for _ in in_threads(self._do, self._work(following), threads):
                    pass
                if following:
                    self._hash = following.result()
                elif self._expected.is_of_parts:
                    self._hash = etag_of_parts(each for _, each in sorted(self._digests.items()))
            except Halt:
                raise
            except BaseException as error:
                self._wanted.stop.fail(error)
                raise

    def check(self) -> None:
        """Raise ``StoreError`` where what came is not what the store has."""
        told = self._expected.hash
        if self._hash != told and not self._is_encrypted():
            raise StoreError(f"what came has the hash {self._hash}, the store's is {told}")

    def _is_encrypted(self) -> bool:
        """Whether the store encrypts the object with a key of its own: its ETag is no MD5 then."""
        api, key = self._wanted.api, self._wanted.entry.key
        with self._wanted.translated():
            return is_encrypted(retried(lambda: api.call("HEAD", key), self._wanted.stop).headers)

    def _following(self, held: int) -> FollowingHash | None:
        digest, stop = self._expected.digest, self._wanted.stop
        return FollowingHash(self._partial, digest, held, stop) if digest else None

    def _work(self, following: FollowingHash | None) -> Iterator[Callable[[], None]]:
        """Yield what is to be done for each part that is missing, or is to be hashed again."""
        missing = {part.number for part in self._partial.missing}
        for part in self._partial.parts:
            if part.number in missing:
                memory = following.memory() if following else bytearray(_PIECE)
                yield functools.partial(self._fetch, part, memory, following)
            elif self._expected.is_of_parts:
                yield functools.partial(self._hash_again, part)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Halt:
            raise
        except BaseException as error:
            self._wanted.stop.fail(error)
            raise

    def _hash_again(self, part: Part) -> None:
        digest = _md5()
        for piece in self._partial.read_part(part):
            self._wanted.stop.check()
            digest.update(piece)
        self._digests[part.number] = digest.digest()

    def _fetch(self, part: Part, memory: bytearray, following: FollowingHash | None) -> None:
        digest = retried(functools.partial(self._attempt, part, memory), self._wanted.stop)
        self._digests[part.number] = digest
        if following:
            following.came(part, memory)
        self._wanted.how.moved(part.size)

    def _attempt(self, part: Part, memory: bytearray) -> bytes:
        """Write a part to the file; return its MD5 where that is to be known."""
        self._wanted.stop.check()
        self._wanted.how.pace(part.size)
        entry, digest = self._wanted.entry, _md5() if self._expected.is_of_parts else None
        headers = {"range": f"bytes={part.offset}-{part.offset + part.size - 1}"}
        if entry.etag:
            headers["if-match"] = f'"{entry.etag}"'
        with self._wanted.api.get(entry.key, headers) as answer:
            self._partial.write_part(part, self._pieces(answer, part, memory, digest))
        return digest.digest() if digest else b""

    def _pieces(
        self, answer: Reply, part: Part, memory: bytearray, digest: hashlib._Hash | None
    ) -> Iterator[memoryview]:
        """Yield the content of a part, each piece in memory that the next may use again.

        Where there is enough for all of it, it is there in the end.
        """
        view, is_kept = memoryview(memory), len(memory) >= part.size
        for start in range(0, part.size, _PIECE):
            self._wanted.stop.check()
            size = min(_PIECE, part.size - start)
            piece = view[start:][:size] if is_kept else view[:size]
            answer.fill(piece)
            if not start:  # and not before: a head that was cut short looks like a whole one
                self._check_head(answer, part)
            if digest:
                digest.update(piece)
            yield piece
        if not answer.at_end():
            raise StoreError("more came than was asked for")

    def _check_head(self, answer: Reply, part: Part) -> None:
        """Raise ``StoreError`` for other bytes: some servers know no If-Match, others no ranges."""
        entry, last = self._wanted.entry, part.offset + part.size - 1
        if entry.etag and answer.headers.get("etag", "").strip('"') != entry.etag:
            raise StoreError(_CHANGED)
        if answer.headers.get("content-range") != f"bytes {part.offset}-{last}/{entry.size}":
            raise StoreError(f"asked for bytes {part.offset}-{last}, the store sent others")


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)
