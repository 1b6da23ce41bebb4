"""AWS Lambda around a function, on loopback: the Runtime API, and the process that it drives.

What is here behaves as Lambda's documentation of its Runtime API says (version 2018-06-01): one
event at a time, what comes of it as a response or an error, a failed start as an initialization
error; and a process that has not answered by the deadline of its event is killed. The process runs
AWS's own runtime client, ``awslambdaric``, over the directory of a built package.

Nothing heavy is imported: benchmarks measure functions with it, from a process that has to stay
smaller than they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")
"""The distributions of AWS's runtime client."""

HANDLER = "handler.lambda_handler"
PYTHON = str(Path(sys.executable).resolve())
CLIENT = (PYTHON, "-S", "-m", "awslambdaric")
"""The runtime client, to be run in a package's directory. -S keeps out what is installed here."""

COMMAND = (*CLIENT, HANDLER)
"""The function."""

TRACE = "1-5759e988-bd862e3fe1be46a994272793"
"""The trace that every invocation is part of."""

_ARN = "arn:aws:lambda:us-east-1:123456789012:function:ingest"
_START_S = 60.0


def copy_runtime(target: Path) -> Path:
    """Copy the runtime client from this environment to ``target``, which in Lambda is /var/runtime.

    Raises ``importlib.metadata.PackageNotFoundError`` where it is not installed.
    """
    for name in RUNTIME:
        for file in distribution(name).files or ():
            if file.suffix != ".pyc" and ".." not in file.parts:
                copied = target / file
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), copied)
    return target


def lambda_environment(task: str | Path, runtime: str | Path) -> dict[str, str]:
    """Return the variables that Lambda sets, without the credentials of the function's role."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{python}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_NAME": "ingest",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/ingest",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/20/[$LATEST]0",
        "AWS_REGION": "us-east-1",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_RUNTIME_DIR": str(runtime),
        "LAMBDA_TASK_ROOT": str(task),
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(runtime),
        "TZ": ":UTC",
        "_HANDLER": HANDLER,
    }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an event: ``kind`` is response, error, timeout or exit.

    ``payload`` is what the function returned, or an error as Lambda describes it. ``log`` is what
    the process wrote meanwhile, to the output that CloudWatch gets.
    """

    kind: str
    payload: Any
    seconds: float
    request_id: str
    log: str


class InitFailed(Exception):
    """The function did not start; ``payload`` is the error that it reported, if any."""

    def __init__(self, payload: Any, log: str) -> None:
        super().__init__(f"{payload}\n{log}")
        self.payload = payload


@dataclass(frozen=True, slots=True)
class _Event:
    request_id: str
    body: bytes
    deadline_ms: int


class Function:
    """One execution environment of a function, from its start to the end of ``with``.

    ``command`` runs in ``directory``; its standard output and errors are in ``scratch``.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        scratch: Path,
    ) -> None:
        self._changed = threading.Condition()
        self._event: _Event | None = None
        self._told: tuple[str, Any] | None = None
        self._ready_at: float | None = None
        self._ended = self._closing = False
        self._api = _Server(("127.0.0.1", 0), _Handler)
        self._api.function = self
        address = f"127.0.0.1:{self._api.server_port}"
        name = uuid.uuid4().hex
        self._output, self._errors = scratch / f"{name}.out", scratch / f"{name}.err"
        threading.Thread(target=self._api.serve_forever, args=(0.02,), daemon=True).start()
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._started_at = time.perf_counter()
            self._process = subprocess.Popen(
                command,
                env={**environment, "AWS_LAMBDA_RUNTIME_API": address},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._watcher.join()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        _, status, self._usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._api.shutdown()
        self._api.server_close()

    @property
    def peak_mb(self) -> float:
        """The largest resident set of the process, in units of 1,000,000 bytes, after its end."""
        return self._usage.ru_maxrss * 1024 / 1e6

    @property
    def errors(self) -> str:
        """What the process has written to its standard error."""
        return self._errors.read_text()

    def kill(self) -> None:
        """End the process, as Lambda does without a warning."""
        with self._changed:
            if not self._ended:
                os.kill(self._process.pid, signal.SIGKILL)

    def wait_ready(self) -> float:
        """Wait until the function asks for its first event; return the seconds since its start.

        Raises ``InitFailed`` where it does not come to that.
        """
        with self._changed:
            assert self._changed.wait_for(self._is_started_or_ended, _START_S), self.errors
            if self._ready_at is None:
                raise InitFailed(self._told[1] if self._told else None, self._log(0) + self.errors)
            return self._ready_at - self._started_at

    def invoke(self, event: object, timeout_s: float = 60.0) -> Outcome:
        """Hand ``event`` over; return what comes of it within ``timeout_s``, else kill."""
        self.wait_ready()
        logged = self._output.stat().st_size
        deadline_ms = int((time.time() + timeout_s) * 1000)
        given = _Event(str(uuid.uuid4()), json.dumps(event).encode(), deadline_ms)
        with self._changed:
            self._event, self._told = given, None
            started_at = time.perf_counter()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._told or self._ended, timeout_s)
            seconds = time.perf_counter() - started_at
            kind, payload = self._told or ("exit" if self._ended else "timeout", None)
        if kind == "timeout":
            self.kill()
        return Outcome(kind, payload, seconds, given.request_id, self._log(logged))

    def _is_started_or_ended(self) -> bool:
        return self._ready_at is not None or self._ended

    def _log(self, start: int) -> str:
        return self._output.read_bytes()[start:].decode()

    def _watch(self) -> None:
        os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    # What the process asks, and says

    def next_event(self) -> _Event:
        """Wait for an event. Raises ``ConnectionAbortedError`` where there will be none."""
        with self._changed:
            self._ready_at = self._ready_at or time.perf_counter()
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._event or self._closing)
            if not self._event:
                raise ConnectionAbortedError
            given, self._event = self._event, None
            return given

    def tell(self, kind: str, payload: object) -> None:
        with self._changed:
            self._told = (kind, payload)
            self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    function: Function


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        # A process that is killed goes away without a word.
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        event = self.server.function.next_event()
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": event.request_id,
            "Lambda-Runtime-Deadline-Ms": str(event.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
            "Lambda-Runtime-Trace-Id": f"Root={TRACE};Parent=53995c3f42cd8ad8;Sampled=1",
        }
        self._reply(200, headers, event.body)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        kind = self.path.rpartition("/")[2]
        self.server.function.tell(kind, body)
        self._reply(202, {"Content-Type": "application/json"}, b'{"status":"OK"}')

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
