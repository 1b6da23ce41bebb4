"""The functions that are measured, and their packages, which are built anew each time.

Ours is what ``sam build`` makes, for this machine and Python. The others get wheels in the same
way: the plain one the versions that are locked for ours, ``dlt`` its own, pinned here.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from measuring import BENCH, REPOSITORY, Environment

OURS, PLAIN, DLT, EMPTY = "ours", "boto3 and requests", "dlt", "an empty function"
"""The names of the functions."""

KEPT = ", key from AWS"
"""Added to the name of one that reads the key of TMDB from AWS Secrets Manager."""

COMPILED = ", compiled"
"""Added to the name of one whose modules are compiled as ours are."""

KEY = "0123456789abcdef0123456789abcdef"
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:tmdb-AbCdEf"

DLT_PINS = ("dlt[filesystem]==1.31.0", "s3fs==2026.9.0")
_UV = str(Path(sys.executable).with_name("uv"))


@dataclass(frozen=True, slots=True)
class Contestant:
    """A function, a module in its package's directory, and what it signs in to TMDB with."""

    module: str
    package: Path
    credentials: Environment
    lands: bool = True


def build(scratch: Path) -> dict[str, Contestant]:
    """Return the contestants, their packages below ``scratch``. Raises what ``subprocess`` does.

    ``dlt`` is not among them where it cannot be installed, which is told.
    """
    key, secret = {"TMDB_API_KEY": KEY}, {"TMDB_SECRET_ARN": ARN}
    ours, plain = _ours(scratch / "ours"), _plain(scratch / "plain")
    compiled = shutil.copytree(plain, scratch / "compiled")
    compile_all(compiled)
    contestants = {
        OURS: Contestant("handler", ours, key),
        PLAIN: Contestant("plain_function", plain, key),
        OURS + KEPT: Contestant("handler", ours, secret),
        PLAIN + KEPT: Contestant("plain_function", plain, secret),
        PLAIN + COMPILED: Contestant("plain_function", compiled, key),
    }
    try:
        contestants[DLT] = Contestant("dlt_function", _dlt(scratch / "dlt"), key)
    except subprocess.CalledProcessError:
        print("dlt cannot be installed here, and is not measured", file=sys.stderr)
    empty = _copied(scratch / "empty", "empty_function.py")
    contestants[EMPTY] = Contestant("empty_function", empty, {}, lands=False)
    return contestants


def compile_all(directory: Path) -> None:
    """Compile the modules below ``directory`` for good, and keep this process small."""
    options = ["-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([sys.executable, "-m", "compileall", *options, directory], check=True)


def _ours(target: Path) -> Path:
    machine = platform.machine().replace("aarch64", "arm64")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    arguments = [f"ARTIFACTS_DIR={target}", f"ARCHITECTURE={machine}", f"PYTHON_VERSION={python}"]
    subprocess.run(
        ["make", "--no-print-directory", "-C", REPOSITORY, "build-IngestFunction", *arguments],
        check=True,
    )
    return target


def _plain(target: Path) -> Path:
    locked = ["--constraint", str(REPOSITORY / "requirements.txt")]
    _install(target, "boto3", "requests", *locked)
    return _copied(target, "plain.py", "plain_function.py")


def _dlt(target: Path) -> Path:
    _install(target, *DLT_PINS)
    return _copied(target, "dlt_function.py")


def _install(target: Path, *requirements: str) -> None:
    options = ["--quiet", "--python", sys.executable, "--only-binary", ":all:"]
    subprocess.run(
        [_UV, "pip", "install", *options, "--target", str(target), *requirements], check=True
    )


def _copied(target: Path, *names: str) -> Path:
    target.mkdir(exist_ok=True)
    for name in names:
        shutil.copyfile(BENCH / name, target / name)
    return target
