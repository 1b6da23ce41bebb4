"""What the BlackPearl of tests holds: buckets under data policies, objects in blobs."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blackpearl_checksums import TYPES, checksum
from blackpearl_messages import Refused, bad_request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_KEY = 1024
VERSIONING = ("NONE", "KEEP_LATEST", "KEEP_MULTIPLE_VERSIONS")
_LTFS_LONGEST = 255
_numbers = itertools.count(1)


def new_id() -> str:
    number = next(_numbers)
    return f"{number:08x}-5bec-4a00-8000-{number:012x}"


@dataclass(frozen=True)
class Policy:
    """What a bucket does with its objects; ``blob_size`` in bytes."""

    name: str
    checksum_type: str
    checksum_required: bool
    versioning: str
    blob_size: int
    id: str = field(default_factory=new_id)

    def __post_init__(self) -> None:
        if self.checksum_type not in TYPES or self.versioning not in VERSIONING:
            raise ValueError(f"no data policy has {self.checksum_type} or {self.versioning}")


@dataclass(eq=False, slots=True)
class Blob:
    """Bytes of an object from ``offset`` on; ``content`` is None until they have come."""

    offset: int
    length: int
    content: bytes | None = None
    checksum: str | None = None
    cached: bool = False
    id: str = field(default_factory=new_id)

    def take(self, content: bytes, kind: str) -> None:
        self.content = content
        self.checksum = checksum(kind, content)
        self.cached = True


@dataclass(eq=False, slots=True)
class Version:
    """An object as it was put once; ``latest`` only when all of it has come."""

    key: str
    blobs: list[Blob]
    metadata: dict[str, str]
    latest: bool = False
    created: float = field(default_factory=time.time)
    id: str = field(default_factory=new_id)

    @property
    def size(self) -> int:
        return sum(blob.length for blob in self.blobs)

    @property
    def complete(self) -> bool:
        return all(blob.content is not None for blob in self.blobs)

    @property
    def content(self) -> bytes:
        return b"".join(blob.content or b"" for blob in self.blobs)


@dataclass(eq=False)
class Bucket:
    """Objects by key, each in versions from the oldest to the newest."""

    name: str
    policy: Policy
    created: float = field(default_factory=time.time)
    id: str = field(default_factory=new_id)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    _sorted: list[str] | None = None

    def latest(self, key: str) -> Version | None:
        return next((each for each in self.versions.get(key, ()) if each.latest), None)

    def find(self, key: str, version_id: str | None) -> Version:
        """Return a complete version, by default the latest.

        Raises:
            Refused: there is none.

        """
        for each in self.versions.get(key, ()):
            if each.latest if version_id is None else each.id == version_id and each.complete:
                return each
        # The description has NoSuchKey and ObjectNotFound among the codes seen, not where.
        raise Refused(404, "ObjectNotFound", f"Object does not exist: {key}")

    def begin(self, key: str, size: int, blob_size: int, metadata: Mapping[str, str]) -> Version:
        """Make room for an object whose bytes are to come.

        Raises:
            Refused: there is one, and no versions are kept, or one is still coming.

        """
        there = self.versions.get(key, [])
        # "KEEP_LATEST requires that the PUT job for the earlier version of the object complete":
        # the vendor's API reference, of data policies.
        if any(not each.complete for each in there) or (there and self.policy.versioning == "NONE"):
            raise Refused(409, "OBJECT_ALREADY_EXISTS", f"Object already exists: {key}")
        offsets = range(0, size, blob_size) if size else [0]
        blobs = [Blob(offset, min(blob_size, size - offset)) for offset in offsets]
        version = Version(key, blobs, dict(metadata))
        self.versions.setdefault(key, []).append(version)
        self._sorted = None
        return version

    def finish(self, version: Version) -> None:
        """Make a version that is complete the latest, and the others old ones or nothing."""
        keep = self.policy.versioning == "KEEP_MULTIPLE_VERSIONS"
        for each in list(self.versions[version.key]):
            each.latest = each is version
            if not keep and each is not version:
                self.drop(each)

    def drop(self, version: Version) -> None:
        left = self.versions[version.key]
        left.remove(version)
        if not left:
            del self.versions[version.key]
            self._sorted = None

    def delete(self, key: str, version_id: str | None = None) -> None:
        """Delete an object; where versions are kept, one that is not named stays as an old one."""
        version = self.find(key, version_id)
        if version_id is None and self.policy.versioning == "KEEP_MULTIPLE_VERSIONS":
            version.latest = False
        else:
            self.drop(version)

    def listed(self, prefix: str, marker: str, *, versions: bool) -> Iterator[Version]:
        """Yield objects by key in UTF-8 order after ``marker``, the newest first.

        One that is still coming is listed where there is no other of its name.
        """
        if self._sorted is None:
            self._sorted = sorted(self.versions)
        for key in self._sorted:
            if key > marker and key.startswith(prefix):
                there = self.versions[key]
                for each in reversed(there):
                    alone = len(there) == 1 and not each.complete
                    if each.latest or (versions and each.complete) or alone:
                        yield each


def check_key(key: str, *, ltfs: bool) -> None:
    """Refuse a name that no object can have.

    The length is that of S3. Characters that XML cannot have would make every listing unreadable.
    What tapes in LTFS refuse is in the vendor's "BlackPearl Object Naming".
    """
    if not 1 <= len(key.encode()) <= LONGEST_KEY:
        raise bad_request(f"An object's name has 1 to {LONGEST_KEY} bytes")
    if any(ord(each) < 0x20 and each not in "\t\n\r" for each in key) or {*key} & {*"\ufffe\uffff"}:
        raise bad_request(f"An object's name has no control characters: {key!r}")
    if ltfs and (":" in key or len(key) > _LTFS_LONGEST):
        raise bad_request(f"Not a name for LTFS: {key}")
