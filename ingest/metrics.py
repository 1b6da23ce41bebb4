"""Metrics of a run: one line of CloudWatch's embedded metric format for each dataset, on stdout.

The dimensions are ``service`` and ``dataset``; what has many values, such as the run's id, is
beside them as a property, to be searched for in the logs. The namespace is that of
``POWERTOOLS_METRICS_NAMESPACE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.logs import no_line_between
from ingest.powertools import SERVICE, EphemeralMetrics, MetricUnit

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.report import DatasetReport

NAMESPACE = "TmdbIngest"
"""The namespace where the environment names none."""


def publish(datasets: Iterable[DatasetReport], **properties: str | None) -> None:
    """Print the metrics of ``datasets``, with ``properties`` beside them."""
    for dataset in datasets:
        metrics = _metrics()
        metrics.add_dimension("dataset", dataset.name)
        for name, (unit, value) in _measured(dataset).items():
            metrics.add_metric(name, unit, value)
        error = type(dataset.cause).__name__ if dataset.cause else None
        for name, told in {"status": dataset.status, "error": error, **properties}.items():
            if told is not None:
                metrics.add_metadata(name, told)
        with no_line_between():
            metrics.flush_metrics()


def publish_cold_start(context: Any) -> None:  # noqa: ANN401 - Lambda's
    """Print that the function which Lambda describes in ``context`` has just been started."""
    with no_line_between():
        _metrics().add_cold_start_metric(context)


def _measured(dataset: DatasetReport) -> dict[str, tuple[MetricUnit, float]]:
    """Return what is counted of a dataset: what this run did, not what it found done."""
    count = MetricUnit.Count
    landed = dataset.status == "landed"
    return {
        "RecordsLanded": (count, dataset.records if landed else 0),
        "BytesLanded": (MetricUnit.Bytes, dataset.bytes if landed else 0),
        "PagesFetched": (count, dataset.traffic.answers),
        "Retries": (count, dataset.traffic.retries),
        "Duration": (MetricUnit.Milliseconds, round(dataset.seconds * 1000)),
        "TornRuns": (count, landed and dataset.consistency == "torn"),
        "Failures": (count, dataset.status == "failed"),
        # Also where an earlier try of the same run has landed it: the partition is there.
        "PartitionsLanded": (count, dataset.status in {"landed", "skipped"}),
    }


def _metrics() -> EphemeralMetrics:
    metrics = EphemeralMetrics(service=SERVICE)
    metrics.namespace = metrics.namespace or NAMESPACE
    return metrics
