"""The bytes of one blob of a GET job, whole or a range of them, as they come."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from ingest.errors import NotFound, StoreError
from ingest.storage.spectra import metadata
from ingest.storage.spectra.checksums import Expected, Mismatch
from ingest.storage.spectra.patience import Passing, retried
from ingest.storage.spectra.wire import BadRequest, Gone, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.storage.spectra.documents import Blob, Job
    from ingest.storage.spectra.jobs import Jobs
    from ingest.storage.spectra.patience import Stop
    from ingest.storage.spectra.place import Place
    from ingest.storage.spectra.wire import Reply


_SHA256 = re.compile(r"[0-9a-f]{64}")


def _ignore(_: Mapping[str, str]) -> None:
    pass


class Fetching:
    """Fetches blobs of one job, from any number of threads."""

    def __init__(self, place: Place, jobs: Jobs, job: Job, stop: Stop) -> None:
        """Ask nothing yet."""
        self._place = place
        self._jobs = jobs
        self._job = job
        self._stop = stop

    def content(
        self,
        blob: Blob,
        span: tuple[int, int] | None = None,
        *,
        is_object: bool = False,
        heard: Callable[[Mapping[str, str]], None] = _ignore,
    ) -> Iterator[bytes]:
        """Yield the bytes of ``blob``, or those of ``span``: the first, and the one after the last.

        Both are positions in the object. Where bytes stop coming, the rest is asked for. All of a
        blob is compared with the checksum that the appliance sends with it, and where it
        ``is_object``, all of one, with the hash in its metadata: where that differs, ``Mismatch``
        is raised at the end, and what was yielded is wrong. ``heard`` is called with the object's
        metadata. Raises ``JobOver``, and what the wire raises.
        """
        whole = (blob.offset, blob.offset + blob.length)
        first, end = span or whole
        expected = Expected({})
        at, failures = first, 0
        while True:
            before = at
            with self._opened(blob, at, end) as reply:
                told = metadata.read(reply.headers)
                heard(told)
                if at == first and (first, end) == whole:
                    expected = _expected(reply, told if is_object else {})
                try:
                    for chunk in reply.chunks():
                        self._check(blob, at + len(chunk) <= end, "more came than was asked for")
                        at += len(chunk)
                        expected.update(chunk)
                        yield chunk
                    self._check(blob, at == end, "it was cut short")
                except Passing as passing:
                    failures = 0 if at > before else failures + 1
                    if failures >= self._jobs.patience.attempts:
                        raise passing.error from None
                else:
                    break
            self._stop.wait(self._jobs.patience.backoff.wait_s(failures))
        if wrong := expected.difference():
            raise Mismatch(f"{self._what(blob)}: {wrong}")

    def _what(self, blob: Blob) -> str:
        return f"{self._place.what('read', blob.name)}{self._place.wire.at}"

    def _check(self, blob: Blob, is_right: bool, wrong: str) -> None:  # noqa: FBT001 - as an assert
        if not is_right:
            raise Passing(StoreError(f"{self._what(blob)}: {wrong}"))

    def _opened(self, blob: Blob, at: int, end: int) -> Reply:
        query = {"job": self._job.id, "offset": str(blob.offset)}
        if blob.version_id:
            query["version_id"] = blob.version_id
        ranged = (at, end) != (blob.offset, blob.offset + blob.length)
        headers = {"Range": f"bytes={at}-{end - 1}"} if ranged else {}
        what = self._place.what("read", blob.name)
        request = Request(what, "GET", self._place.path(blob.name), query, headers)

        def once() -> Reply:
            return self._place.wire.open(request)

        try:
            reply = retried(once, self._jobs.patience, self._stop)
        except (BadRequest, Gone, NotFound) as error:
            found = self._jobs.find(self._job.id, self._stop)
            if found is None or found.status != "IN_PROGRESS":
                raise self._jobs.over(self._job.id, self._stop) from None
            raise error from None
        if ranged and not _is_range(reply, at, end):
            with reply:
                raise StoreError(f"{self._what(blob)}: what was sent is not the part asked for")
        return reply


def _expected(reply: Reply, told: Mapping[str, str]) -> Expected:
    sha256 = told.get("sha256", "")
    return Expected(reply.headers, sha256 if _SHA256.fullmatch(sha256) else "")


def _is_range(reply: Reply, at: int, end: int) -> bool:
    told = reply.headers.get("content-range", "")
    return reply.status == HTTPStatus.PARTIAL_CONTENT and told.startswith(f"bytes {at}-{end - 1}/")
