"""The life of a function, disturbed: runs in processes of their own, held or killed at a request.

``Forks`` starts a run as a new process, quickly: it is forked from one that has imported the
handler. ``Steps`` stands between a run and the store, and can act at each of its requests.
``Ground`` has buckets for runs to land in; ``committed`` judges what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from faultproxy import FaultProxy
from ingest.serializer import deserialize
from runs import child_environment, objects, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from faultproxy import Rule, Seen
    from ingest.sandbox import Sandbox
    from support import S3Server

SOON_S = 60
"""Seconds that a test waits for what is about to happen."""

MANIFEST = "_manifest.json"

_Lake = dict[str, bytes]


@dataclass(frozen=True)
class Landing:
    """What a run is asked for, and its settings beside where TMDB and the store are."""

    event: Mapping[str, Any]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a run ended: by a signal, with an error, or with the body of its response."""

    code: int
    error: str | None = None
    body: dict[str, Any] | None = None

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Forks:
    """Processes that have imported the handler, one at a time, within ``with``."""

    def __enter__(self) -> Self:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            env=child_environment({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._server as server:
            server.kill()

    def run(self, event: object, environ: Mapping[str, str]) -> Ended:
        """Run in a new process; return how that ended."""
        assert self._server.stdin
        self._pid: Future[int] = Future()
        self._server.stdin.write(json.dumps({"event": event, "environ": dict(environ)}) + "\n")
        self._server.stdin.flush()
        self._pid.set_result(self._read()["pid"])
        told: dict[str, Any] = {}
        while "code" not in told:
            told |= self._read()
        return Ended(**told)

    def kill(self) -> None:
        """Kill the run that is under way, from another thread."""
        os.kill(self._pid.result(SOON_S), signal.SIGKILL)

    def _read(self) -> dict[str, Any]:
        assert self._server.stdout
        line = self._server.stdout.readline()
        assert line, "the process that forks has ended"
        told: dict[str, Any] = json.loads(line)
        return told


def _serve() -> None:
    """Fork a process for each job on standard input; say on standard output how it went."""
    import handler  # noqa: PLC0415 - in this process alone
    from ingest.errors import IngestError  # noqa: PLC0415 - as above

    channel = os.dup(1)
    os.dup2(2, 1)  # what a run prints is nothing for the channel

    def tell(**what: object) -> None:
        os.write(channel, json.dumps(what).encode() + b"\n")

    for line in sys.stdin:
        if child := os.fork():
            tell(code=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            continue
        tell(pid=os.getpid())
        job = json.loads(line)
        os.environ.update(job["environ"])
        try:
            answer = handler.lambda_handler(job["event"], None)
            tell(body=json.loads(answer["body"]) if "body" in answer else answer)
        except IngestError as error:
            tell(error=str(error))
        os._exit(0)


@dataclass
class Steps(FaultProxy):
    """A proxy that calls ``before`` for each request, and ``after`` once the store has done it.

    Both get the request's number, from 1. It goes on when they return, and is dropped where they
    raise a ``ConnectionError``.
    """

    before: Callable[[int], object] = lambda _: None
    after: Callable[[int], object] = lambda _: None

    def __post_init__(self) -> None:
        super().__post_init__()
        # The end of ``with`` waits until the store has done what a killed run had under way.
        self._server.daemon_threads = False

    def received(self, seen: Seen) -> Rule | None:
        rule = super().received(seen)
        self.before(self._number(seen))
        return rule

    def answered(self, seen: Seen, status: int) -> None:
        super().answered(seen, status)
        self.after(self._number(seen))

    def _number(self, seen: Seen) -> int:
        return self.requests.index(seen) + 1


@dataclass
class Ground:
    """One TMDB, and a server with buckets for runs; each begins with what landed ``earlier``."""

    sandbox: Sandbox
    server: S3Server
    earlier: _Lake = field(default_factory=dict)

    def land(self, forks: Forks, landing: Landing) -> None:
        """Make what ``landing`` leaves what buckets begin."""
        bucket = self.bucket()
        assert self.run(forks, landing, bucket).body
        self.earlier = self.lake(bucket)

    def bucket(self) -> str:
        """A new bucket."""
        name, client = self.server.new_bucket(), self.server.client()
        for key, body in self.earlier.items():
            client.put_object(Bucket=name, Key=key, Body=body)
        return name

    def run(
        self, forks: Forks, landing: Landing, bucket: str, proxy: FaultProxy | None = None
    ) -> Ended:
        """Run ``landing`` into ``bucket``, through ``proxy`` if there is one."""
        environ = variables(self.sandbox, **self.server.environment(bucket), **landing.settings)
        if proxy:
            environ["ENDPOINT_URL"] = proxy.endpoint_url
        return forks.run(landing.event, environ)

    def lake(self, bucket: str) -> _Lake:
        return objects(self.server, bucket)


def committed(lake: Mapping[str, bytes]) -> set[str]:
    """The keys that manifests commit, those of the manifests among them.

    Asserts what has to be true at any moment: a manifest tells what is beside it, byte for byte.
    """
    keys = {key for key in lake if key.endswith(f"/{MANIFEST}")}
    for manifest in sorted(keys):
        for entry in json.loads(lake[manifest])["objects"]:
            key, body = entry["key"], lake[entry["key"]]
            ids = [record["id"] for record in deserialize(body, key)]
            assert entry["sha256"] == hashlib.sha256(body).hexdigest()
            assert entry["bytes"] == len(body)
            assert entry["records"] == len(ids) == len(set(ids)) <= 100
            keys.add(key)
    return keys


def bodies(lake: Mapping[str, bytes]) -> _Lake:
    """What is in the lake beside the manifests, which tell when a run was."""
    return {key: body for key, body in lake.items() if not key.endswith(f"/{MANIFEST}")}


if __name__ == "__main__":
    _serve()
