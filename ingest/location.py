"""What a person names on the command line: ``s3://bucket/key``, or a path of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """A bucket and, exactly as it was written, a key or the beginning of keys."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        """Return the URL."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def directory(self) -> str:
        """The key with the ``/`` that makes it a directory; empty for the whole bucket."""
        return self.key + "/" if self.key and not self.key.endswith("/") else self.key

    @property
    def name(self) -> str:
        """What follows the last ``/`` of the key."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path; ``is_directory`` where it was written with a ``/`` at its end, or there is one."""

    path: Path
    is_directory: bool


Location = ObjectUrl | LocalPath


def parse(text: str) -> Location:
    """Return what ``text`` names. Raises ``UsageError`` for a URL that is none of ours."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        path = Path(text)
        return LocalPath(path, text.endswith(os.sep) or path.is_dir())
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not bucket:
        raise UsageError(f"{text} should be a path or a URL such as s3://bucket/prefix")
    return ObjectUrl(bucket, key)


def parse_url(text: str) -> ObjectUrl:
    """Return the URL ``text``. Raises ``UsageError`` where it is none."""
    location = parse(text)
    if isinstance(location, ObjectUrl):
        return location
    raise UsageError(f"{text} should be a URL such as s3://bucket/prefix")
