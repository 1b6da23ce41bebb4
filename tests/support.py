"""What tests share beside fixtures: where things are, servers, settings."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from ingest.sandbox import SANDBOX_TOKEN, Sandbox
from ingest.settings import AccessKey, Settings, load

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
RECORDED = REPOSITORY.parent / "shared" / "recorded"


@dataclass
class S3Server:
    """A real S3 server on loopback."""

    name: str
    endpoint_url: str
    access_key: AccessKey
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint_url,
            aws_access_key_id=self.access_key.access_key_id,
            aws_secret_access_key=self.access_key.secret_access_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )

    def new_bucket(self) -> str:
        bucket = f"bucket-{os.getpid()}-{next(self._numbers)}"
        self.client().create_bucket(Bucket=bucket)
        return bucket

    def environment(self, bucket: str) -> dict[str, str]:
        """The variables that make ``bucket`` of this server the lake."""
        return {
            "BUCKET_NAME": bucket,
            "ENDPOINT_URL": self.endpoint_url,
            "REGION_NAME": "us-east-1",
            "AWS_ACCESS_KEY_ID": self.access_key.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.access_key.secret_access_key,
        }


def settings_for(sandbox: Sandbox | None = None, **variables: str) -> Settings:
    """Settings of these variables alone, with TMDB at ``sandbox``."""
    tmdb = {"TMDB_BASE_URL": sandbox.base_url} if sandbox else {}
    return load({"TMDB_ACCESS_TOKEN": SANDBOX_TOKEN, **tmdb, **variables})
