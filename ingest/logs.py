"""Log lines: JSON by Powertools in Lambda, one readable line each on stderr elsewhere."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.settings import Settings


@contextmanager
def _hidden(module: str) -> Iterator[None]:
    """Make the import of ``module`` fail meanwhile, unless it is loaded already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


# Powertools loads botocore where it can, to add itself to the user agent of boto3's requests. The
# daily run makes none, and does without.
with _hidden("botocore"):
    from aws_lambda_powertools import Logger


def configure(settings: Settings, request_id: str | None) -> None:
    """Send the log lines of this package where they belong, from ``LOG_LEVEL`` up.

    ``request_id`` is Lambda's, and is part of every line there.
    """
    if settings.in_lambda:
        Logger(service="ingest", level=settings.log_level).append_keys(
            function_request_id=request_id
        )
        return
    lines = logging.getLogger("ingest")
    if not lines.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        lines.addHandler(handler)
    lines.setLevel(settings.log_level)
