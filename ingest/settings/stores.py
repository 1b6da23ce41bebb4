"""What concerns a store alone, and what is moved where."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest import values
from ingest.settings import VARIABLES
from ingest.settings.environment import AccessKey, access_key, environment
from ingest.values import Variable, value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_STORE_FIELDS = frozenset({"endpoint_url", "region"})

DIRECTORY_VARIABLES: tuple[Variable, ...] = (
    Variable("source_bucket", "SOURCE_BUCKET", values.bucket, "Bucket to download from."),
    Variable(
        "source_dir",
        "SOURCE_DIR",
        values.prefix,
        "Directory of that bucket, which lands in downloads/ under its own name.",
    ),
    Variable("target_bucket", "TARGET_BUCKET", values.bucket, "Bucket to upload to."),
    Variable("target_dir", "TARGET_DIR", values.prefix, "Directory of that bucket to upload into."),
    Variable(
        "source_local_dir",
        "SOURCE_LOCAL_DIR",
        values.prefix,
        "Directory to upload, inside of downloads/.",
    ),
)
"""What ``ingest upload`` and ``ingest download`` take where they are given no arguments."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """The settings of an S3 API alone."""

    endpoint_url: str | None
    region: str | None
    access_key: AccessKey | None


@dataclass(frozen=True, slots=True)
class Directories:
    """What is moved where, as the environment says. Fields are in ``DIRECTORY_VARIABLES``."""

    source_bucket: str | None
    source_dir: str | None
    target_bucket: str | None
    target_dir: str | None
    source_local_dir: str | None


def load_store(
    environ: Mapping[str, str] | None = None, *, instead: Mapping[str, str] | None = None
) -> StoreSettings:
    """Read and check what concerns the store alone: no other setting matters to a transfer.

    ``instead`` has values that win over those of ``environ``. Raises ``SettingsError`` as ``load``
    does.
    """
    env = {**environment(environ), **(instead or {})}
    found = {
        variable.field: value_of(env, variable)
        for variable in VARIABLES
        if variable.field in _STORE_FIELDS
    }
    return StoreSettings(**found, access_key=access_key(env))


def load_directories(environ: Mapping[str, str] | None = None) -> Directories:
    """Read and check ``DIRECTORY_VARIABLES``. Raises ``SettingsError`` as ``load`` does."""
    env = environment(environ)
    return Directories(
        **{variable.field: value_of(env, variable) for variable in DIRECTORY_VARIABLES}
    )
