"""Daily TMDB ingests and directory transfers, over one uploader."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs milliseconds, in which Ctrl-C is not yet seen to
if TYPE_CHECKING:
    from typing import Any

    from ingest.bucket import Bucket

__all__ = ["Bucket", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's
    """Load ``Bucket`` when it is first asked for: the daily run needs nothing of it."""
    if name != "Bucket":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ingest.bucket import Bucket  # noqa: PLC0415 - as the docstring says

    return Bucket
