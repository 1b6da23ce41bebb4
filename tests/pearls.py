"""What tests of the Spectra store share: stores of a BlackPearl, and short ways to move objects."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from blackpearl import ACCESS_KEY, SECRET_KEY, Blackpearl
from blackpearl_buckets import check_key
from blackpearl_messages import Refused
from faultproxy import Rule, Stall
from ingest.files.landing import Landing
from ingest.pacing import Backoff
from ingest.settings import AccessKey
from ingest.storage.base import GetItem, PutItem, Transfer
from ingest.storage.spectra.patience import Patience, Stop
from ingest.storage.spectra.store import SpectraStore
from ingest.storage.spectra.wire import Appliance, Wire
from runs import child_environment
from stores import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pytest
    from click.testing import Result

    from ingest.storage.base import Outcome
    from ingest.storage.spectra.jobs import JobOptions

KEY = AccessKey(ACCESS_KEY, SECRET_KEY)
AT_ONCE = Patience(
    attempts=4,
    backoff=Backoff(base_s=0.0),
    waits=200,
    shortest_wait_s=0.0,
    connect_s=5.0,
    answer_s=5.0,
)
"""The patience of tests: what is waited for comes with the next answer, or never."""


def wire_of(
    pearl: Blackpearl, *, endpoint: str | None = None, patience: Patience = AT_ONCE
) -> Wire:
    """The way to ``pearl``, or to a proxy before it."""
    return Wire(Appliance(endpoint or pearl.endpoint, KEY, patience=patience))


def store_on(
    pearl: Blackpearl,
    bucket: str | None = None,
    *,
    options: JobOptions | None = None,
    endpoint: str | None = None,
    patience: Patience = AT_ONCE,
) -> SpectraStore:
    """Our store of ``bucket``, by default a new one."""
    wire = wire_of(pearl, endpoint=endpoint, patience=patience)
    return SpectraStore(bucket or pearl.new_bucket(), wire, options)


def text(
    key: str, content: bytes = b"content", metadata: Mapping[str, str] | None = None
) -> PutItem:
    return PutItem(key, content, "text/plain", metadata or {})


def filled(pearl: Blackpearl, contents: dict[str, bytes], **policy: Any) -> str:
    """Return a new bucket in which somebody else has put these."""
    bucket = pearl.new_bucket(**policy)
    for key, content in contents.items():
        pearl.put(bucket, key, content)
    return bucket


def item(path: Path, key: str | None = None) -> PutItem:
    """A file as it is now, to be written under its name."""
    return PutItem(key or path.name, path, "application/octet-stream", {}, path.stat())


def put(
    store: SpectraStore, items: Iterable[PutItem], how: Transfer | None = None
) -> dict[str, Outcome]:
    return {outcome.key: outcome for outcome in store.put_many(items, how or Transfer(threads=4))}


def get(
    store: SpectraStore, root: Path, keys: Iterable[str] | None = None, how: Transfer | None = None
) -> dict[str, Outcome]:
    """Fetch the objects listed, or those of them in ``keys``, below ``root``."""
    how = how or Transfer(threads=4)
    wanted = set(keys) if keys is not None else None
    items = [
        GetItem(entry, entry.key) for entry in store.list() if wanted is None or entry.key in wanted
    ]
    return fetch(store, root, items, how)


def fetch(
    store: SpectraStore, root: Path, items: Iterable[GetItem], how: Transfer | None = None
) -> dict[str, Outcome]:
    how = how or Transfer(threads=4)
    with Landing(root, overwrite=how.overwrite) as landing:
        return {outcome.key: outcome for outcome in store.get_many(items, landing, how)}


def errors(outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    return {key: str(outcome.error) for key, outcome in outcomes.items() if outcome.error}


# A server of the conformance suite


@dataclass
class PearlServer:
    """A BlackPearl where tests know S3 servers; ``client`` is what somebody else would use."""

    pearl: Blackpearl
    name: str = "blackpearl"

    @property
    def endpoint_url(self) -> str:
        return self.pearl.endpoint

    def new_bucket(self) -> str:
        return self.pearl.new_bucket()

    def client(self) -> Somebody:
        return Somebody(self.pearl)


@dataclass
class Somebody:
    """The calls of boto3's client that tests make as somebody else, with what they raise."""

    pearl: Blackpearl

    def put_object(self, **asked: Any) -> None:
        try:
            check_key(asked["Key"], ltfs=False)
        except Refused as refused:
            told: Any = {"Error": {"Code": refused.code, "Message": refused.message}}
            raise ClientError(told, "PutObject") from None
        self.pearl.put(asked["Bucket"], asked["Key"], asked["Body"], asked.get("Metadata"))

    def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        return {"Contents": [{"Key": key} for key in self.pearl.contents(asked["Bucket"])]}

    def get_object(self, **asked: Any) -> dict[str, Any]:
        return {"Body": io.BytesIO(self.pearl.contents(asked["Bucket"])[asked["Key"]])}

    def copy_object(self, **asked: Any) -> None:
        source = asked["CopySource"]
        content = self.pearl.contents(source["Bucket"])[source["Key"]]
        self.put_object(Bucket=asked["Bucket"], Key=asked["Key"], Body=content)

    def delete_object(self, **asked: Any) -> None:
        with self.pearl.appliance.lock:
            self.pearl.appliance.bucket(asked["Bucket"]).delete(asked["Key"])


class StoreOnPearl(SpectraStore):
    """Our store, with the ``clients`` by which tests reach the server behind it."""

    def __init__(self, server: PearlServer, bucket: str | None = None) -> None:
        super().__init__(bucket or server.new_bucket(), wire_of(server.pearl))
        self.clients = SimpleNamespace(
            client=server.client, connection=SimpleNamespace(endpoint_url=server.endpoint_url)
        )


def not_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the store waits for the appliance, each time; it goes on at once.

    What is under way here is waited for.
    """
    found: list[float] = []

    def wait(_stop: Stop, seconds: float, until: Event | None = None) -> None:
        if until:
            assert until.wait(60)
        else:
            found.append(seconds)

    monkeypatch.setattr(Stop, "wait", wait)
    return found


# The command


def told(pearl: Blackpearl, *words: str | Path, **more: str) -> Result:
    """What ``ingest WORDS`` does, in this process, with ``pearl`` in the environment."""
    return command(None, *words, **{**pearl.environment(), **more})


@contextmanager
def started(pearl: Blackpearl, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """``python -m ingest ARGUMENTS`` within the block; it is dead after it."""
    state = os.environ["XDG_STATE_HOME"]
    with subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "ingest", *arguments],
        env=child_environment({**pearl.environment(), "XDG_STATE_HOME": state}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stalled(pearl: Blackpearl, method: str, *arguments: str | Path, after: int = 2) -> str:
    """Kill a transfer while the blob that follows ``after`` is on its way; return its job."""
    rule = Rule(Stall(Event()), method, query="offset", times=None, skip=after)
    pearl.rules.append(rule)
    before = len(pearl.seen(method, query="offset"))
    with started(pearl, *arguments, "--concurrency", "1"):
        pearl.wait_until(lambda: len(pearl.seen(method, query="offset")) > before + after)
    pearl.rules.remove(rule)
    (job,) = [job for job in pearl.jobs if job.status == "IN_PROGRESS"]
    return job.id
