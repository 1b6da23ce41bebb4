"""Which files an upload's job is of, kept on this machine: an appliance knows their keys alone.

One file a job, in a directory that is the user's own; it is there from the job's beginning until
the job is done or ended. Without it, the command that began the job goes on with it all the same,
but for files that were written right before: nobody can tell that these are the same still.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import StoreError
from ingest.storage.base import PutItem
from ingest.storage.spectra.sources import File

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.storage.spectra.sources import Source, Version

    Line = tuple[PutItem, Version | None]

logger = logging.getLogger(__name__)

_STALE_S = 7 * 86_400
"""An appliance ends a job that was left alone for a day."""


class Memory:
    """The files of jobs, in the directory ``root``, which need not exist."""

    def __init__(self, root: Path) -> None:
        """Read and write nothing yet."""
        self._root = root

    def remember(self, job_id: str, uploads: Iterable[tuple[PutItem, Source]]) -> None:
        """Keep which files a job is of; where that cannot be done, it is logged.

        A job that is known already keeps its files. Content that is in memory alone is not kept.
        """
        path = self._path(job_id)
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._forget_stale()
            path.touch(0o600, exist_ok=False)
            path.write_text("".join(_line(item, source) for item, source in uploads))
        except FileExistsError:
            pass
        except OSError as error:
            logger.info("%s cannot be written: %s", path, error.strerror)

    def recall(self, job_id: str) -> list[PutItem]:
        """Return the files of a job. Raises ``StoreError`` where they are not known here."""
        if found := [item for item, _ in self._lines(job_id)]:
            return found
        hint = "run the command that began it once more: it goes on with the job"
        message = f"which files the job {job_id} is of is not known on this machine"
        raise StoreError(message, hint=hint)

    def versions(self, job_id: str) -> dict[str, Version]:
        """Return what the files of a job were when it began, by their keys; empty if unknown."""
        return {item.key: version for item, version in self._lines(job_id) if version}

    def forget(self, job_id: str) -> None:
        """Drop what is kept of a job."""
        with suppress(OSError):
            self._path(job_id).unlink()

    def _path(self, job_id: str) -> Path:
        return self._root / job_id.replace(os.sep, "_")

    def _lines(self, job_id: str) -> Iterator[Line]:
        # The last line is cut short where its writer was killed.
        with suppress(OSError, TypeError, ValueError), self._path(job_id).open() as file:
            for line in file:
                yield _read(*json.loads(line))

    def _forget_stale(self) -> None:
        for path in self._root.iterdir():
            with suppress(FileNotFoundError):  # another process may have done it
                if path.stat().st_mtime < time.time() - _STALE_S:
                    path.unlink()


def _line(item: PutItem, source: Source) -> str:
    path = version = None
    if isinstance(source, File):
        path, version = os.path.abspath(source.path), source.version  # noqa: PTH100 - links stay
    elif source.size:
        return ""
    told = (item.key, path, item.content_type, dict(item.metadata), version)
    return json.dumps(told) + "\n"


def _read(
    key: str,
    path: str | None,
    content_type: str,
    metadata: dict[str, str],
    version: list[int] | None,
) -> Line:
    size, mtime_ns, inode = version or (0, 0, 0)
    source = b"" if path is None else Path(path)
    item = PutItem(key, source, content_type, metadata)
    return item, (size, mtime_ns, inode) if version else None
