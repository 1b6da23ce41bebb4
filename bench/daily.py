"""What the benchmarks of the daily ingest share: the servers of its runs."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measuring import server

if TYPE_CHECKING:
    from collections.abc import Iterator

RCLONE = str(Path(sys.executable).with_name("rclone"))
LATENCY_S = 0.1


@contextlib.contextmanager
def stand_in_of_tmdb() -> Iterator[str]:
    """Serve the stand-in with ``LATENCY_S`` added to each answer; yield its base URL."""
    options = ["--port", "0", "--latency", str(LATENCY_S)]
    with server([sys.executable, "-m", "ingest.sandbox", *options], "sandbox: http") as line:
        yield line.split()[1]
