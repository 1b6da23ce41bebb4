"""What a person names on the command line: ``s3://bucket/key``, or a path of this machine.

The scheme of a URL says which service it is of: see ``ingest.storage.services``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import UsageError
from ingest.storage.services import S3, SCHEMES


@dataclass(frozen=True, slots=True)
class ObjectUrl:
    """A bucket and, exactly as it was written, a key or the beginning of keys.

    Without a bucket it is all that the service has.
    """

    bucket: str
    key: str = ""
    scheme: str = S3

    def __str__(self) -> str:
        """Return the URL."""
        return self.of(self.key)

    def of(self, key: str) -> str:
        """Return the URL of another key of the bucket."""
        return f"{self.scheme}://{self.bucket}/{key}"

    def covers(self, key: str) -> bool:
        """Whether ``key`` is this one, or is below it as a directory."""
        return key == self.key or key.startswith(self.directory)

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
    if scheme not in SCHEMES or not bucket:
        raise UsageError(f"{text} should be a path or a URL such as {_examples()}")
    return ObjectUrl(bucket, key, scheme)


def parse_url(text: str) -> ObjectUrl:
    """Return the URL ``text``. Raises ``UsageError`` where it is none."""
    location = parse(text)
    if isinstance(location, ObjectUrl):
        return location
    raise UsageError(f"{text} should be a URL such as {_examples()}")


def parse_service(text: str) -> ObjectUrl:
    """Return the URL ``text``, which need not name a bucket. Raises ``UsageError``."""
    scheme, separator, rest = text.partition("://")
    if separator and scheme in SCHEMES and not rest:
        return ObjectUrl("", "", scheme)
    return parse_url(text)


def _examples() -> str:
    return " or ".join(f"{scheme}://bucket/prefix" for scheme in SCHEMES)
