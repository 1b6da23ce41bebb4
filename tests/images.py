"""A file system like Lambda's: the package in /var/task, and nothing to write to but /tmp."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_UNSHARED = ("unshare", "--mount", "--map-root-user")
"""The mounts are the process's own, and need no rights: it is root in a namespace of its own."""

_IMAGE = r"""
set -e
PATH=$PATH:/usr/sbin
root=$1 prefix=$2 task=$3 runtime=$4
shift 4
show() { mount --rbind "$1" "$2" && mount -o remount,bind,ro "$2"; }
mount -t tmpfs image "$root"
cd "$root"
mkdir -p tmp var/task var/runtime
for part in /usr /bin /lib /lib64 /etc /dev /proc "$prefix"; do
    if [ -L "$part" ]; then cp -P "$part" ".$part"
    elif [ -d "$part" ] && [ ! -d ".$part" ]; then mkdir -p ".$part" && show "$part" ".$part"
    fi
done
show "$task" var/task
show "$runtime" var/runtime
mount -t tmpfs tmp tmp
mount -o remount,bind,ro .
exec chroot . env -C /var/task LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime \
    PYTHONPATH=/var/runtime "$@"
"""


def in_image(command: Sequence[str], root: Path, task: Path, runtime: Path) -> list[str]:
    """Return ``command`` as run in /var/task of a file system made on the empty ``root``.

    Beside ``task`` and ``runtime``, at their places in Lambda, it has the system's own programs
    and libraries, and this Python. /tmp is empty.
    """
    image = [_IMAGE, "image", str(root), sys.base_prefix, str(task), str(runtime)]
    return [*_UNSHARED, "sh", "-c", *image, *command]


def why_no_image() -> str:
    """Return why this machine cannot make such a file system; empty where it can."""
    tried = [*_UNSHARED, "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        done = subprocess.run(tried, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr.strip() if done.returncode else ""
