"""Powertools for AWS Lambda, without what it would load beside.

Everything of Powertools that a run always uses is imported from here.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


# Powertools loads botocore where it can, to add itself to the user agent of boto3's requests. Most
# runs make none, and do without.
with _hidden("botocore"):
    from aws_lambda_powertools import Tracer
    from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
    from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

__all__ = ["EphemeralMetrics", "LambdaPowertoolsFormatter", "MetricUnit", "Tracer"]

SERVICE = "ingest"
"""What logs, metrics and traces call this function, whatever it is called in AWS."""
