"""``Bucket``: the notebook-friendly object over all of it.

Its names and arguments are those of Qarnot's ``Bucket``, so that what was written for that runs
with this, against any S3-compatible store. It does what their documentation promises:

>>> from ingest import Bucket
>>> bucket = Bucket.open("results", endpoint_url="https://storage.example.org", create=True)
>>> bucket.sync_directory("output", remote="run-7", verbose=True)
upload output/a.csv -> s3://results/run-7/a.csv (new)
>>> "run-7/a.csv" in bucket
True
>>> for entry in bucket:  # streams, however many there are
...     print(entry.key, entry.size)
run-7/a.csv 1024
"""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from ingest.admin import presign_get, presign_put
from ingest.bucket.named import (
    FileSet,
    checked_key,
    content_of,
    destination,
    directory_of,
    entry_of,
    key_of,
    name_of,
    path_of,
)
from ingest.bucket.resources import BucketPrefixFiltering, PrefixResourcesTransformation, Resources
from ingest.bucket.telling import follow, outcome_of, steps
from ingest.connecting import connection
from ingest.errors import NotFound, UsageError
from ingest.files.scan import LocalEntry
from ingest.location import parse_url
from ingest.planning.plan import Transfer as Send
from ingest.planning.plan import directory_prefix
from ingest.s3_service import S3Service
from ingest.storage.base import Entry, PutItem, Transfer
from ingest.storage.connection import Clients, Connection
from ingest.storage.services import S3, open_service
from ingest.sync import Options, send_one, sync
from ingest.trees import LocalTree, StoreTree
from ingest.uploader import Content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ingest.bucket.named import LocalPath
    from ingest.bucket.telling import Progress
    from ingest.operation import Operation
    from ingest.planning.compare import Mode
    from ingest.planning.filters import Rule
    from ingest.storage.base import Head
    from ingest.storage.services import Service
    from ingest.sync import Tree


class NoSuchFile(NotFound, ValueError, KeyError):
    """The bucket has no such object: ``ValueError`` of a method, ``KeyError`` of an operator."""

    def __str__(self) -> str:
        """Return the line alone: a ``KeyError`` would quote it."""
        return Exception.__str__(self)


class Bucket:
    """A bucket of an S3-compatible store, or of another service.

    Keys (``remote``) are exact: nothing in them is ever changed. ``remote`` as a directory is a
    prefix that ends in ``/``, with or without it being written, so that ``data`` is never
    ``database/``. Local paths are ``str``, ``bytes`` or ``Path``.

    Methods raise ``BucketNotFound``, ``NoSuchFile``, ``NoSuchPath``, ``CredentialsRefused`` and
    ``StoreError``. One that moves many files does all it can before it raises the first error;
    ``error.__notes__`` has the others.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Qarnot's signature
        self,
        connection: Connection | Service,
        name: str,
        create: bool = True,  # noqa: FBT001, FBT002 - as above
        filtering: BucketPrefixFiltering | None = None,
        resources_transformation: PrefixResourcesTransformation | None = None,
        cacheTTLSec: int | None = None,  # noqa: N803 - as above
    ) -> None:
        """Make the bucket, unless it is there or ``create`` is off; that makes no request.

        Raises ``UsageError`` for a name that no bucket can have. The last three arguments concern
        tasks that Qarnot runs on a bucket. They are carried by ``to_json`` and choose nothing here.
        """
        self._service = _service(connection)
        self._store = self._service.store(name)
        self._name = name
        self._resources = Resources(filtering, resources_transformation, cacheTTLSec)
        if create:
            self._service.make_bucket(name)

    @classmethod
    def open(  # noqa: PLR0913 - what a connection has
        cls,
        name: str,
        *,
        create: bool = False,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str | None = None,
        provider: str | None = None,
        profile: str | None = None,
        path_style: bool | None = None,
    ) -> Self:
        """Return the bucket ``name``, or ``s3://name``; the environment has what is not given.

        ``path_style`` False is for a store that wants the bucket's name before the host's. For a
        bucket of another service, ``ds3://name``, the environment has everything.

        >>> Bucket.open("s3://results", profile="lab")
        <Bucket s3://results>
        """
        url = parse_url(name if "://" in name else f"s3://{name}")
        if url.key:
            raise UsageError(f"{name} should be a bucket alone; keys are arguments of its methods")
        given: dict[str, Any] = {
            "endpoint_url": endpoint_url,
            "access_key": access_key,
            "secret_key": secret_key,
            "session_token": session_token,
            "region": region,
            "provider": provider,
            "profile": profile,
            "path_style": path_style,
        }
        if url.scheme == S3:
            return cls(connection(**given), url.bucket, create)
        for argument in (argument for argument, value in given.items() if value is not None):
            raise UsageError(f"{argument} is not for {url.scheme}://")
        return cls(open_service(url.scheme), url.bucket, create)

    # What it is

    @property
    def uuid(self) -> str:
        """The bucket's name."""
        return self._name

    @property
    def description(self) -> str:
        """The bucket's name."""
        return self._name

    def __repr__(self) -> str:
        """Return where it is; never a key."""
        return f"<Bucket {self._store.url}{self._service.at}>"

    def __eq__(self, other: object) -> bool:
        """Whether both are one bucket: the same name at the same endpoint, whoever asks."""
        return isinstance(other, Bucket) and self._identity == other._identity

    def __hash__(self) -> int:
        """Return what is equal for equal buckets."""
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, str]:
        return self._service.at, self._store.url

    def to_json(self) -> dict[str, Any]:
        """Return the fields of a Qarnot resource bucket, ready for ``json.dumps``."""
        return {"bucketName": self.uuid, **self._resources.to_json()}

    @classmethod
    def from_json(cls, connection: Connection | Service, json_bucket: Mapping[str, Any]) -> Self:
        """Return the bucket that ``to_json`` described; makes no request."""
        bucket = cls(connection, json_bucket["bucketName"], create=False)
        return bucket._with(Resources.from_json(json_bucket))

    def with_filtering(self, filtering: BucketPrefixFiltering | None) -> Self:
        """Return a copy that carries this filtering, and everything else of this one."""
        return self._with(replace(self._resources, filtering=filtering))

    def with_resource_transformation(self, resource: PrefixResourcesTransformation | None) -> Self:
        """Return a copy that carries this transformation, and everything else of this one."""
        return self._with(replace(self._resources, transformation=resource))

    def with_cache_ttl(self, ttl: int | None) -> Self:
        """Return a copy that carries this time to live, in seconds, and everything else."""
        return self._with(replace(self._resources, cache_ttl=ttl))

    def _with(self, resources: Resources) -> Self:
        other = copy.copy(self)
        other._resources = resources  # noqa: SLF001 - it is of this class
        return other

    # What it holds

    def __iter__(self) -> Iterator[Entry]:
        """Yield the objects by key, as they are listed: a page of 1,000 at a time."""
        return self._store.list()

    def list_files(self) -> list[Entry]:
        """Return all objects; iterate over the bucket itself where there are many."""
        return list(self)

    def directory(self, directory: str = "") -> list[Entry]:
        """Return the objects below a directory, at any depth."""
        return list(self._store.list(directory_prefix(directory)))

    def __contains__(self, remote: str | Entry) -> bool:
        """Whether there is an object of exactly this key. Raises ``BucketNotFound``."""
        try:
            self._head(key_of(remote))
        except NoSuchFile:
            return False
        return True

    def url(self, remote: str) -> str:
        """Return the address of an object, for those who may read it without a signature."""
        return self.presign(remote).partition("?")[0]

    def presign(self, remote: str, *, put: bool = False, expires: int = 3600) -> str:
        """Return a URL that reads the object, or with ``put`` writes it, for ``expires`` seconds.

        Makes no request, and so does not know whether there is such an object. Raises
        ``UsageError`` where the service has no such links.
        """
        if not isinstance(self._service, S3Service):
            raise UsageError(f"there are no links to objects of {self._store.url}")
        sign = presign_put if put else presign_get
        return sign(self._service.clients, self.uuid, checked_key(remote), expires)

    # One file

    def add_file(self, local_or_file: LocalPath | IO[bytes], remote: str | None = None) -> None:
        """Upload a file, or what is left to read of an open one; replaces an object at once.

        ``remote`` is by default the file's own name, without its directories. An open file should
        be binary. Raises ``NoSuchPath``, which is a ``FileNotFoundError``.

        >>> bucket.add_file("output/a.csv", "run-7/a.csv")
        """
        if isinstance(local_or_file, (str, bytes, os.PathLike)):
            path = path_of(local_or_file)
            self._put(path, path.name if remote is None else remote)
        else:
            with content_of(local_or_file) as content:
                self._put(content, name_of(local_or_file) if remote is None else remote)

    def add_string(self, string: str, remote: str) -> None:
        """Upload a text, as UTF-8."""
        self._put(string.encode(), remote)

    def get_file(
        self,
        remote: str | Entry,
        local: LocalPath | None = None,
        progress: Progress = None,
    ) -> str:
        """Download an object and return the path of the file.

        ``local`` is by default the last name of the key, in the working directory; where it is a
        directory, the file goes into it. Directories that are missing are made. The file appears
        whole or not at all: one that is there survives any failure. ``progress`` is called with
        the bytes read, those there are and the path, from threads, one call at a time; or True
        draws a bar on stderr.

        Raises ``NoSuchFile``, which is a ``ValueError`` (and with ``bucket[key]`` a ``KeyError``).

        >>> bucket.get_file("run-7/a.csv", "here/", progress=True)
        'here/a.csv'
        """
        key = key_of(remote)
        path, entry = destination(key, local), self._head(key)
        how = Transfer(moved=steps(progress, entry.size, str(path)))
        self._send(entry, path.name, LocalTree(path.parent), how)
        return str(path)

    def copy_file(self, source: str | Entry, dest: str) -> None:
        """Copy an object within the bucket, by the store itself. Raises ``NoSuchFile``."""
        self._send(self._head(key_of(source)), checked_key(dest), self._below(), Transfer())

    def delete_file(self, remote: str | Entry) -> None:
        """Delete the object of exactly this key; one that does not exist counts as deleted."""
        how = Transfer()
        outcome_of(self._store.delete_many([key_of(remote)], how), how)

    def __getitem__(self, remote: str | Entry) -> str:
        """Download an object as ``get_file`` does, into the working directory."""
        return self.get_file(remote)

    def __setitem__(self, remote: str, local: LocalPath | IO[bytes]) -> None:
        """Upload a file, an open file, or a directory under ``remote``."""
        if isinstance(local, (str, bytes, os.PathLike)) and path_of(local).is_dir():
            self.add_directory(local, remote)
        else:
            self.add_file(local, remote)

    def __delitem__(self, remote: str | Entry) -> None:
        """Delete an object. Raises ``NoSuchFile``, which is a ``KeyError``."""
        self.delete_file(self._head(key_of(remote)))

    # Directories

    def add_directory(self, local: LocalPath, remote: str = "") -> list[Operation]:
        """Upload every file of a directory, with its path below it; links are not followed.

        Returns what was done. Raises ``NoSuchPath``, which is an ``OSError``, where it is none.
        """
        return self._sync(directory_of(local), self._below(remote), Options(compare=None))

    def get_all_files(self, output_dir: LocalPath, progress: Progress = None) -> list[Operation]:
        """Download every object into a directory, over what is there; returns what was done.

        Files that the bucket has not stay. What the file system cannot hold is named before the
        rest is downloaded. ``progress`` is called with each file once it is whole.
        """
        tree = LocalTree(path_of(output_dir), empty_dirs=True)
        return self._sync(self._below(), tree, Options(compare=None), progress=progress)

    def sync_directory(
        self,
        directory: LocalPath,
        verbose: bool = False,  # noqa: FBT001, FBT002 - Qarnot's signature
        remote: str | None = None,
    ) -> list[Operation]:
        """Make what is below ``remote`` like a directory, and return what was done.

        Files are sent where name, size or hash differ. Then, only if all of that succeeded,
        objects below ``remote`` that the directory has not are **deleted**; never if it has no
        file at all. ``verbose`` writes each operation to stderr. Raises ``NoSuchPath`` where there
        is no directory.
        """
        return self._make_like(directory_of(directory), verbose, remote)

    def sync_files(
        self,
        files: Mapping[str, str | os.PathLike[str]],
        verbose: bool = False,  # noqa: FBT001, FBT002 - Qarnot's signature
        remote: str | None = None,
    ) -> list[Operation]:
        """Do as ``sync_directory`` does with ``files``: keys below ``remote``, to local paths.

        >>> bucket.sync_files({"in/a.csv": "/data/2024/a.csv"}, remote="run-7")
        """
        return self._make_like(FileSet(Path(), files=files), verbose, remote)

    def sync_remote_to_local(
        self, local_directoy: LocalPath, remote_directory: str | None = None
    ) -> list[Operation]:
        """Make a directory like what is below ``remote_directory``; returns what was done.

        The reverse of ``sync_directory``, also in what it **deletes**: files that the bucket has
        not. The directory is made where it is missing.
        """
        tree = LocalTree(path_of(local_directoy), empty_dirs=True)
        options = Options(compare="checksum", delete=True)
        return self._sync(self._below(remote_directory), tree, options)

    def sync(  # noqa: PLR0913 - what there is to choose
        self,
        directory: LocalPath,
        remote: str = "",
        *,
        download: bool = False,
        compare: Mode = "size-mtime",
        delete: bool = False,
        max_delete: int | None = None,
        rules: tuple[Rule, ...] = (),
        empty_dirs: bool = False,
        dry_run: bool = False,
        verbose: bool = False,
        progress: Progress = None,
    ) -> list[Operation]:
        """Make what is below ``remote`` like a directory or, to ``download``, the reverse.

        ``delete`` is what ``sync_directory`` does; if there are more than ``max_delete``, nothing
        is deleted. ``rules`` choose keys: see ``ingest.planning.filters``. Nothing is read to
        compare unless size or time differ: see ``ingest.planning.compare``. Returns what was done
        or, in a dry run, what would be, in order and with what would fail.

        >>> for operation in bucket.sync("output", "run-7", delete=True, dry_run=True):
        ...     print(operation)
        would upload output/b.csv -> s3://results/run-7/b.csv (new)
        would delete s3://results/run-7/a.csv
        """
        options = Options(
            compare=compare, delete=delete, max_delete=max_delete, rules=rules, dry_run=dry_run
        )
        path = path_of(directory) if download else directory_of(directory).root
        ends = (LocalTree(path, empty_dirs=empty_dirs or download), self._below(remote))
        source, destination = reversed(ends) if download else ends
        return self._sync(source, destination, options, verbose=verbose, progress=progress)

    # The bucket itself

    def delete(self) -> None:
        """Delete the bucket and **everything in it**: objects, their versions, unfinished uploads.

        Raises the first error there was, once everything was tried; the bucket then stays.
        """
        self._service.remove_bucket(self.uuid, force=True)

    def update(self, flush: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - Qarnot's
        """Do nothing: nothing is remembered that could be out of date."""
        warnings.warn("update() does nothing", DeprecationWarning, stacklevel=2)

    def flush(self) -> None:
        """Do nothing: nothing is uploaded in the background."""
        warnings.warn("flush() does nothing", DeprecationWarning, stacklevel=2)

    # How it is done

    def _make_like(self, source: LocalTree, verbose: bool, remote: str | None) -> list[Operation]:  # noqa: FBT001 - as its callers
        options = Options(compare="checksum", delete=True)
        return self._sync(source, self._below(remote), options, verbose=verbose)

    def _sync(
        self,
        source: Tree,
        destination: Tree,
        options: Options,
        *,
        verbose: bool = False,
        progress: Progress = None,
    ) -> list[Operation]:
        how = Transfer()
        operations = sync(source, destination, options, how)
        if options.dry_run:
            return list(operations)
        return follow(operations, how, verbose=verbose, progress=progress)

    def _below(self, remote: str | None = None) -> StoreTree:
        return StoreTree(self._store, directory_prefix(remote or ""))

    def _send(self, entry: Entry, target: str, end: Tree, how: Transfer) -> None:
        """Send one object of the bucket to ``target`` of ``end``, which may be the bucket."""
        one = Send(entry, target, "new")
        follow(send_one(self._below(), end, one, Options(compare=None), how), how)

    def _put(self, source: bytes | Path, remote: str) -> None:
        stat = None
        if isinstance(source, Path):
            entry = entry_of(LocalTree(source.parent), source.name)
            stat = entry.stat if isinstance(entry, LocalEntry) else None
        item = PutItem(checked_key(remote), source, Content().type_of(remote), stat=stat)
        how = Transfer()
        outcome_of(self._store.put_many([item], how), how)

    def _head(self, key: str) -> Head:
        """Return what is known of an object; a HEAD alone cannot say what it is that is missing."""
        try:
            return self._store.head(key)
        except NotFound as error:
            missing = NoSuchFile(error.message)
        next(self._store.list(key), None)  # raises where it is the bucket
        raise missing


def _service(connection: Connection | Service) -> Service:
    """Return the service of a connection, which is one of S3's API."""
    if isinstance(connection, Connection):
        return S3Service(Clients(connection))
    return connection
