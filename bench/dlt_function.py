"""The daily ingest in Lambda with ``dlt``: its own REST source, and its own file system of S3."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import dlt
from dlt.destinations import filesystem
from dlt.sources.rest_api import rest_api_source

COMMON = {"language": "pt-BR", "include_adult": "false", "with_genres": "16,35"}
LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "movies": (
        "discover/movie",
        {"include_video": "false", "primary_release_date.lte": "2023-12-31"},
    ),
    "series": ("discover/tv", {"first_air_date.lte": "2023-12-31"}),
}


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    source = rest_api_source(
        {
            "client": {
                "base_url": os.environ["TMDB_BASE_URL"],
                "auth": {
                    "type": "api_key",
                    "name": "api_key",
                    "api_key": os.environ["TMDB_API_KEY"],
                    "location": "query",
                },
                "paginator": {
                    "type": "page_number",
                    "base_page": 1,
                    "total_path": None,
                    "maximum_page": 6,
                },
            },
            "resources": [
                {
                    "name": name,
                    "endpoint": {
                        "path": path,
                        "params": {**COMMON, **filters},
                        "data_selector": "results",
                    },
                }
                for name, (path, filters) in LISTS.items()
            ],
        },
        max_table_nesting=0,
    )
    destination = filesystem(
        bucket_url=f"s3://{os.environ['BUCKET_NAME']}",
        credentials={
            "aws_access_key_id": os.environ["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "endpoint_url": os.environ.get("ENDPOINT_URL"),
        },
    )
    pipeline = dlt.pipeline(
        "tmdb",
        destination=destination,
        dataset_name=os.environ["RAW_ZONE_PATH"],
        pipelines_dir=tempfile.gettempdir(),
    )
    pipeline.run(source, loader_file_format="jsonl")
    return {"statusCode": 200, "body": event["scheduled_time"]}
