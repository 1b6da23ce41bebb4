"""A BlackPearl for tests: a server of the Spectra S3 protocol on loopback, in memory.

It checks every signature, and can be told to be full, slow, gone or wrong, see ``Options`` and
``Rule``. ``python tests/blackpearl.py --help`` runs it as a process.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import itertools
import ssl
import threading
import time
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Self

import blackpearl_rest
import blackpearl_s3
from blackpearl_appliance import Appliance
from blackpearl_faults import Corrupt, parse_rule
from blackpearl_messages import REST, Refused
from blackpearl_options import Options
from blackpearl_signature import check
from blackpearl_wire import Wire
from faultproxy import Answer, Rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from blackpearl_jobs import Job
    from blackpearl_messages import Reply, Request
    from faultproxy import Seen
    from tinys3 import Certificate

__all__ = ["ACCESS_KEY", "SECRET_KEY", "Blackpearl", "Corrupt", "Options"]
ACCESS_KEY = "c3BlY3RyYQ=="
SECRET_KEY = "BlackPearlTest"


class Blackpearl:
    """Serves on loopback within ``with``; ``rules`` may be changed meanwhile.

    ``options`` are those of ``Options``. With ``certificate`` it serves over TLS.

    Raises:
        RuntimeError: at its end, that the server itself had a defect.

    """

    def __init__(
        self, *, port: int = 0, certificate: Certificate | None = None, **options: Any
    ) -> None:
        self.options = Options(**options)
        self.appliance = Appliance(self.options, "https" if certificate else "http")
        self.keys = {ACCESS_KEY: SECRET_KEY}
        tls = _context(certificate) if certificate else None
        self._wire = Wire(port, self._answer, self._error, self.options.clock_offset_s, tls)
        self.rules = self._wire.faults.rules
        self.port = self.appliance.port = self._wire.server_address[1]
        self._numbers = itertools.count(1)

    @property
    def endpoint(self) -> str:
        return f"{self.appliance.scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._wire.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._wire.stop()
        if self._wire.crashes:
            raise RuntimeError(self._wire.crashes[0])

    def environment(self) -> dict[str, str]:
        """The variables with which a client reaches this server."""
        return {
            "DS3_ENDPOINT": self.endpoint,
            "DS3_ACCESS_KEY": ACCESS_KEY,
            "DS3_SECRET_KEY": SECRET_KEY,
        }

    # What went on

    @property
    def requests(self) -> list[Seen]:
        """The requests so far, in the order they came."""
        with self._wire.changed:
            return list(self._wire.requests)

    def seen(self, method: str | None = None, path: str = "", query: str = "") -> list[Seen]:
        """Return the requests of a method, with these in their decoded path and their query."""
        wanted = Rule(Answer(), method, path, query)
        return [each for each in self.requests if wanted.matches(each)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition``, which is looked at again after each request and answer."""
        self._wire.wait_until(condition)

    # What it holds

    def new_bucket(
        self,
        checksum_type: str | None = None,
        versioning: str | None = None,
        *,
        checksum_required: bool | None = None,
    ) -> str:
        """Make a bucket, by default under the policy of the options, and return its name."""
        with self.appliance.lock:
            policy = self.appliance.add_policy(
                checksum_type, versioning, checksum_required=checksum_required
            )
            return self.appliance.add_bucket(f"bucket-{next(self._numbers)}", policy).name

    def put(
        self, bucket: str, key: str, content: bytes, metadata: dict[str, str] | None = None
    ) -> None:
        """Put an object as somebody else would, in blobs of its bucket's size."""
        with self.appliance.lock:
            named = {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
            self.appliance.put(self.appliance.bucket(bucket), key, content, named)

    def contents(self, bucket: str) -> dict[str, bytes]:
        """Return the latest version of each object, in the order of the listing."""
        with self.appliance.lock:
            listed = self.appliance.bucket(bucket).listed("", "", versions=False)
            return {version.key: version.content for version in listed if version.complete}

    def metadata(self, bucket: str, key: str) -> dict[str, str]:
        """Return the metadata of an object, without the prefix of its headers."""
        with self.appliance.lock:
            version = self.appliance.bucket(bucket).find(key, None)
            return {name.removeprefix("x-amz-meta-"): v for name, v in version.metadata.items()}

    @property
    def jobs(self) -> list[Job]:
        """All jobs that were not lost, from the first to the last."""
        with self.appliance.lock:
            return list(self.appliance.jobs.all.values())

    def lose(self, job: Job | None = None, status: int = 404) -> None:
        """Lose a job, by default the last: it is answered with ``status`` from now on."""
        with self.appliance.lock:
            self.appliance.jobs.lose(job or self.jobs[-1], status)

    def cancel(self, job: Job | None = None) -> None:
        """Cancel a job, by default the last, as its owner could from elsewhere."""
        with self.appliance.lock:
            self.appliance.jobs.cancel(job or self.jobs[-1])

    # Answers

    def _answer(self, request: Request) -> Reply:
        check(request, self.keys, time.time() + self.options.clock_offset_s)
        if request.path.startswith(REST):
            return blackpearl_rest.answer(self.appliance, request)
        return blackpearl_s3.answer(self.appliance, request)

    def _error(self, refused: Refused, path: str) -> bytes:
        return b"" if self.options.bare_errors else self.appliance.documents.error(refused, path)


def _context(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate.chain)
    return context


def _parser() -> argparse.ArgumentParser:
    """Return the command line, which has an option for each of ``Options``."""
    parser = argparse.ArgumentParser(
        description="A BlackPearl for tests, in memory, until it is stopped. It prints the "
        "variables with which a client reaches it.",
        epilog=f"{inspect.getdoc(Options)}\n\n--fault: {inspect.getdoc(parse_rule)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="by default a free one")
    parser.add_argument("--bucket", action="append", default=[], help="one to begin with")
    parser.add_argument("--fault", action="append", default=[], metavar="RULE")
    for each in fields(Options):
        name, default = f"--{each.name.replace('_', '-')}", each.default
        if default is False:
            parser.add_argument(name, action="store_true")
        elif isinstance(default, frozenset):
            parser.add_argument(name, type=lambda text: frozenset(text.split(",")), default=default)
        else:
            kind = int if default is None else type(default)
            parser.add_argument(name, type=kind, default=default, help=f"default: {default}")
    return parser


def main() -> None:
    parser = _parser()
    given = vars(parser.parse_args())
    port, buckets, faults = (given.pop(name) for name in ("port", "bucket", "fault"))
    try:
        rules = [parse_rule(text) for text in faults]
        pearl = Blackpearl(port=port, **given)
        for name in buckets:
            pearl.appliance.add_bucket(name)
    except (OSError, Refused, ValueError) as error:
        parser.error(str(error))
    with pearl:
        pearl.rules.extend(rules)
        for name, value in pearl.environment().items():
            print(f"{name}={value}", flush=True)  # noqa: T201 - for whoever started it
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
