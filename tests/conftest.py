"""Servers and settings that tests share: a stand-in of TMDB, and real S3 servers on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from ingest.sandbox import Sandbox
from ingest.settings import AccessKey
from ingest.trees import LocalTree
from stores import SERVERS, store_of, write
from support import RECORDED, S3Server
from transfers import FILES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.storage.s3 import S3Store

# How long an example takes is not ours to judge on a machine that does other things as well.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

_OURS = (
    *("AWS_", "BUCKET_NAME", "DS3_", "ENDPOINT_URL", "LOCAL_DIR", "LOG_LEVEL", "POWERTOOLS_"),
    *("REGION_NAME", "TMDB_", "TRACING"),
)


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings, keys and profiles of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith(_OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-aws-credentials"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def recorded() -> Path:
    """The folder of recorded responses; the test is skipped where it is absent."""
    if not RECORDED.is_dir():
        pytest.skip("the recorded responses (../shared/recorded) are not on this machine")
    return RECORDED


@pytest.fixture
def stand_in() -> Iterator[Callable[..., Sandbox]]:
    """Start stand-ins of TMDB: ``stand_in(faults=[...])``; they stop with the test."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Sandbox(**options))


@contextmanager
def _rclone(remote: str, name: str) -> Iterator[S3Server]:
    """``rclone serve s3``: checks signatures and digests as S3 does."""
    key = AccessKey("TESTACCESSKEY", "test-secret-key")
    command = [
        *(Path(sys.executable).with_name("rclone"), "serve", "s3", remote),
        *("--addr", "127.0.0.1:0", "--config", os.devnull),
        *("--auth-key", f"{key.access_key_id},{key.secret_access_key}"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        line = next(line for line in server.stderr if "Starting s3 server on" in line)
        # It logs each delete, and would stand still once the pipe is full.
        reader = threading.Thread(target=server.stderr.read)
        reader.start()
        yield S3Server(name, line.split("[")[1].split("]")[0].rstrip("/"), key)
        server.terminate()
        reader.join()
        server.stderr.close()


@pytest.fixture(scope="session")
def rclone_server() -> Iterator[S3Server]:
    """``rclone serve s3`` in memory."""
    with _rclone(":memory:", "rclone") as server:
        yield server


@pytest.fixture(scope="session")
def rclone_on_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """``rclone serve s3`` of a directory: it refuses what that cannot hold."""
    with _rclone(str(tmp_path_factory.mktemp("served")), "rclone on disk") as server:
        yield server


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """Moto's own S3 over HTTP: forgiving of signatures, strict about what S3 has."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - heavy, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield S3Server("moto", f"http://{host}:{port}", AccessKey("testing", "testing"))
    server.stop()


@pytest.fixture(params=["rclone", "moto"])
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the S3 servers in turn."""
    server: S3Server = request.getfixturevalue(f"{request.param}_server")
    return server


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the S3 servers in turn, one of them on a disk."""
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def store(server: S3Server) -> S3Store:
    """Our store of a new bucket of ``server``."""
    return store_of(server)


@pytest.fixture
def local(tmp_path: Path) -> LocalTree:
    """A tree of a few files."""
    return LocalTree(write(tmp_path / "here", FILES))
