"""A directory as a lake. It has no content types and no metadata.

For trees of our own making, whose keys are plain: the ends of a transfer of any other tree are
``ingest.files.scan`` and ``ingest.files.landing``.
"""

from __future__ import annotations

import functools
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ingest.errors import NotFound, StoreError
from ingest.storage.base import PLAIN, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from ingest.files.landing import Landing
    from ingest.storage.base import PutItem, Transfer


_READ_BYTES = 1_048_576


class LocalStore:
    """Objects as files below a directory, which is made when the first one is written."""

    def __init__(self, root: Path) -> None:
        """``root`` need not exist yet."""
        self._root = root

    @property
    def url(self) -> str:
        """The directory, as it was given."""
        return str(self._root)

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:
        """Write each item to a partial file beside its destination, sync it and rename it."""
        from ingest.files.landing import Landing  # noqa: PLC0415 - Lambda lands in buckets

        for item in items:
            try:
                # Synced: the manifest that follows says that what it names is there.
                with Landing(self._root, overwrite=how.overwrite, sync=True) as landing:
                    yield _put(landing, item)
            except OSError as error:  # of the source; the landing's are StoreErrors
                yield Outcome(item.key, 0, self._error("write", item.key, error))
            except StoreError as error:
                yield Outcome(item.key, 0, error)

    def read(self, key: str) -> bytes:
        """Return a file's content."""
        path = self._path(key)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"{path} does not exist") from None
        except OSError as error:
            raise self._error("read", key, error) from None

    def delete_many(self, keys: Iterable[str], how: Transfer = PLAIN) -> Iterator[Outcome]:  # noqa: ARG002 - as above
        """Delete files; directories stay."""
        for key in keys:
            try:
                self._path(key).unlink(missing_ok=True)
            except OSError as error:
                yield Outcome(key, 0, self._error("delete", key, error))
            else:
                yield Outcome(key, 0)

    def names(self, directory: str) -> set[str]:
        """Return the keys of the files directly in ``directory``."""
        try:
            found = list(os.scandir(self._path(directory.removesuffix("/"))))
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise self._error("list", directory, error) from None
        return {directory + entry.name for entry in found if entry.is_file(follow_symlinks=False)}

    def _path(self, key: str) -> Path:
        """Return where ``key`` lives; a key that would leave the directory is an error."""
        parts = PurePosixPath(key).parts
        if "/".join(parts) != key or ".." in parts or "\0" in key:
            raise StoreError(f"{self.url} cannot hold the key {key!r}: it is no relative path")
        return self._root.joinpath(*parts)

    def _error(self, verb: str, key: str, error: OSError) -> StoreError:
        return StoreError(f"cannot {verb} {self._root / key}: {error.strerror or error}")


def _put(landing: Landing, item: PutItem) -> Outcome:
    if isinstance(item.source, bytes):
        landed = landing.write(item.key, item.source)
        return Outcome(item.key, len(item.source), existed=not landed)
    with item.source.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        with landing.open(item.key, size, part_size=max(size, 1), identity=None) as file:
            for part in file.missing:
                file.write_part(part, iter(functools.partial(source.read, _READ_BYTES), b""))
            landed = file.commit()
    return Outcome(item.key, size, existed=not landed)
