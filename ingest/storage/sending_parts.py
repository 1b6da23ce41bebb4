"""The parts of one upload on their way to the store, and their completion there."""

from __future__ import annotations

import base64
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ingest.storage.answers import Failed, is_encrypted
from ingest.storage.attempts import Halt, Stop, retried
from ingest.storage.etags import etag_of, etag_of_parts, is_md5
from ingest.storage.parts import PartLimits, PartReader, Source
from ingest.storage.uploads import StoredPart, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ASSEMBLY_S = 600.0
"""How long a store may take to put the parts together: many say nothing meanwhile."""
_WANTS_MD5 = frozenset({"InvalidRequest", "MissingContentMD5"})
"""What S3 answers to a part without its MD5 where a bucket locks its objects."""


class StartOver(Exception):
    """The upload is of no more use; what it was to hold has to be sent to a new one."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file, the object it is to be, and how; ``upload_file`` says what each means."""

    target: Target
    source: Source
    headers: Mapping[str, str]
    workers: int
    limits: PartLimits
    compare_etag: bool
    keep_partial: bool
    cancelled: threading.Event
    progress: Callable[[int], None]
    pace: Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun, in parts of ``part_size`` bytes, of which some are stored.

    ``own_key``: the store encrypts it with a key of KMS, so that no ETag is an MD5.
    """

    upload_id: str
    part_size: int
    stored: Mapping[int, StoredPart] = field(default_factory=dict)
    own_key: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """An object as the store tells of it."""

    etag: str
    own_key: bool


@dataclass(frozen=True, slots=True)
class _Part:
    """Which bytes of the file a part has; ``number`` counts from 1."""

    number: int
    start: int
    size: int


class Sending:
    """The parts of one upload on their way, several at a time, in ascending order."""

    def __init__(self, job: Job, upload: Upload) -> None:
        """Send nothing yet."""
        self._job = job
        self._upload = upload
        self._stop = Stop(job.cancelled)
        self._lock = threading.Lock()
        self._count = -(-job.source.size // upload.part_size)
        self._numbers = iter(range(1, self._count + 1))
        self._digests: dict[int, bytes] = {}
        self._tells_md5 = upload.own_key or not job.compare_etag
        self.parts: dict[int, StoredPart] = {}
        self.resumed = 0
        self.reported = 0

    @property
    def etag(self) -> str:
        """The ETag that the object should have, by the MD5s of what was sent."""
        return etag_of_parts(digest for _, digest in sorted(self._digests.items()))

    def run(self) -> None:
        """Send every part. Raises the first failure, once all threads have ended."""
        workers = min(self._job.workers, self._count)
        with ThreadPoolExecutor(workers, thread_name_prefix="part") as pool:
            try:
                wait([pool.submit(self._drain) for _ in range(workers)])
            except BaseException as error:  # Ctrl-C: the threads have to end first
                self._stop.fail(error)
                raise
        if self._stop.failure:
            raise self._stop.failure
        if self._job.cancelled.is_set():
            raise self._job.target.error("cancelled")

    def complete(self) -> Made:
        """Have the store assemble the parts; return what it says of the object."""
        try:
            return retried(self._assembled, self._stop)
        except Failed as failed:
            failure = self._failure(failed)
        except Halt:
            failure = self._job.target.error("cancelled")
        raise failure

    def _assembled(self) -> Made:
        target = self._job.target
        try:
            answer = target.api.call(
                *("POST", target.key, {"uploadId": self._upload.upload_id}),
                headers={"content-type": "application/xml"},
                body=_completion(self.parts),
                answer_s=_ASSEMBLY_S,
            )
            etag = answer.document.findtext("{*}ETag", "").strip('"')
        except Failed as failed:
            # No answer, or a second request for what the first one did.
            doubtful = failed.code == "NoSuchUpload" or failed.passes
            if doubtful and (landed := self._landed()):
                return landed
            raise
        return Made(etag, is_encrypted(answer.headers))

    def _landed(self) -> Made | None:
        """Return what the store says of the object where that is by now what was sent."""
        target = self._job.target
        try:
            answer = target.api.call("HEAD", target.key)
            size = answer.size
        except Failed:
            return None
        same = size == self._job.source.size and is_of(self._job.source, answer.etag, self.etag)
        return Made(answer.etag, is_encrypted(answer.headers)) if same else None

    def _drain(self) -> None:
        reader = PartReader(self._job.source, self._stop)
        try:
            while part := self._next():
                self._stop.check()
                self._send(part, reader)
        except Halt:
            return
        except Failed as failed:
            self._stop.fail(self._failure(failed))
        except BaseException as error:  # noqa: BLE001 - raised by run()
            self._stop.fail(error)

    def _next(self) -> _Part | None:
        with self._lock:
            number = next(self._numbers, None)
        if number is None:
            return None
        start = (number - 1) * self._upload.part_size
        return _Part(number, start, min(self._upload.part_size, self._job.source.size - start))

    def _send(self, part: _Part, reader: PartReader) -> None:
        found = self._found(part, reader)
        done, digest = found or self._put(part, reader)
        with self._lock:
            self.parts[part.number] = done
            self._digests[part.number] = digest
            self.resumed += found is not None
            self.reported += part.size
            self._job.progress(part.size)

    def _found(self, part: _Part, reader: PartReader) -> tuple[StoredPart, bytes] | None:
        """Return what the store has of a part, with its MD5, where that is the file's."""
        stored = self._upload.stored.get(part.number)
        if stored is None:
            return None
        digest = reader.md5(part.start, part.size)
        return (stored, digest) if stored.etag == digest.hex() else None

    def _put(self, part: _Part, reader: PartReader) -> tuple[StoredPart, bytes]:
        """Send a part, and have it compared with the file; return it with its MD5."""
        if not self._tells_md5:
            try:
                done, digest = self._put_with(part, reader, {})
            except Failed as failed:
                if failed.code not in _WANTS_MD5:
                    raise
            else:
                if done.etag == digest.hex():
                    return done, digest
            # Not what was sent, or an ETag that is no MD5: from now on the store is to compare.
            self._tells_md5 = True
        told = base64.b64encode(reader.md5(part.start, part.size)).decode()
        return self._put_with(part, reader, {"content-md5": told})

    def _put_with(
        self, part: _Part, reader: PartReader, headers: dict[str, str]
    ) -> tuple[StoredPart, bytes]:
        target = self._job.target
        query = {"partNumber": str(part.number), "uploadId": self._upload.upload_id}
        sent = {**headers, "content-length": str(part.size)}

        def attempt() -> tuple[StoredPart, bytes]:
            self._job.pace(part.size)
            digest = hashlib.md5(usedforsecurity=False)
            with closing(reader.blocks(part.start, part.size, digest)) as content:
                answer = target.api.put(target.key, query, content, sent)
            return StoredPart.sent(answer, part.size), digest.digest()

        return retried(attempt, self._stop, self._job.source.check)

    def _failure(self, failed: Failed) -> Exception:
        error = failed.error(self._job.target.what)
        # rclone's server says 501 to a part that has another content than it had before.
        gone = failed.code == "NoSuchUpload" or failed.status == HTTPStatus.NOT_IMPLEMENTED
        # S3 takes no part without a checksum where the upload was begun with some.
        unfit = failed.code == "InvalidRequest" and self._upload.stored
        return StartOver(error) if gone or unfit else error


def is_of(source: Source, etag: str, expected: str) -> bool:
    """Whether an object's ETag is the expected one, or the file's MD5, as rclone's server says."""
    with suppress(OSError):
        return etag == expected or (is_md5(etag) and etag == etag_of(source.path, None))
    return False


def _completion(parts: Mapping[int, StoredPart]) -> bytes:
    rows = []
    for number, part in sorted(parts.items()):
        named = {"PartNumber": str(number), "ETag": f'"{part.etag}"', **part.checksums}
        row = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in named.items())
        rows.append(f"<Part>{row}</Part>")
    namespace = "http://s3.amazonaws.com/doc/2006-03-01/"
    name = "CompleteMultipartUpload"
    return f'<{name} xmlns="{namespace}">{"".join(rows)}</{name}>'.encode()
