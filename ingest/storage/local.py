"""A directory as a lake. It has no content types and no metadata.

For trees of our own making, whose keys are plain: the ends of a transfer of any other tree are
``ingest.scan`` and ``ingest.landing``.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ingest.errors import NotFound, StoreError
from ingest.storage.base import PLAIN, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.storage.base import PutItem, Transfer


class LocalStore:
    """Objects as files below a directory, which is made when the first one is written."""

    def __init__(self, root: Path) -> None:
        """``root`` need not exist yet."""
        self._root = root

    @property
    def url(self) -> str:
        """The directory, as it was given."""
        return str(self._root)

    def put_many(self, items: Iterable[PutItem], how: Transfer = PLAIN) -> Iterator[Outcome]:  # noqa: ARG002 - one file after the other
        """Write each item to a temporary file beside its destination, sync it and rename it."""
        for item in items:
            try:
                yield Outcome(item.key, self._put(item))
            except OSError as error:
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

    def _put(self, item: PutItem) -> int:
        path = self._path(item.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # The dot hides it from readers of the lake; the directory is the destination's own, so
        # that the rename stays on one file system.
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as target:
                if isinstance(item.source, Path):
                    with item.source.open("rb") as source:
                        shutil.copyfileobj(source, target, 1_048_576)
                else:
                    target.write(item.source)
                target.flush()
                os.fsync(target.fileno())
                size = target.tell()
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        return size

    def _path(self, key: str) -> Path:
        """Return where ``key`` lives; a key that would leave the directory is an error."""
        parts = PurePosixPath(key).parts
        if "/".join(parts) != key or ".." in parts or "\0" in key:
            raise StoreError(f"{self.url} cannot hold the key {key!r}: it is no relative path")
        return self._root.joinpath(*parts)

    def _error(self, verb: str, key: str, error: OSError) -> StoreError:
        return StoreError(f"cannot {verb} {self._root / key}: {error.strerror or error}")
