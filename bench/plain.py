"""The plain way to do the daily ingest: one request after the other, and then the uploads.

This is the system that ``ingest`` replaces, in words of our own and without its defects: each
endpoint gets its own parameters, requests time out, and an error ends the run. It stays as plain as
it was: ``requests.get`` page after page, movies and then series, each list saved as indented JSON
in ``LOCAL_DIR`` and, where ``BUCKET_NAME`` is set, uploaded by boto3, which is loaded only then.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

MOST_RECORDS = 100
COMMON = {"language": "pt-BR", "include_adult": "false", "with_genres": "16,35"}
LISTS: dict[str, tuple[str, dict[str, str]]] = {
    "Movies": (
        "/discover/movie",
        {"include_video": "false", "primary_release_date.lte": "2023-12-31"},
    ),
    "Series": ("/discover/tv", {"first_air_date.lte": "2023-12-31"}),
}


def fetch(folder: str) -> list[dict[str, Any]]:
    """Ask for page after page until there are enough records, or no more pages."""
    endpoint, filters = LISTS[folder]
    records: list[dict[str, Any]] = []
    page, last = 0, 1
    while len(records) < MOST_RECORDS and page < last:
        page += 1
        answer = requests.get(
            os.environ["TMDB_BASE_URL"] + endpoint,
            params={"api_key": os.environ["TMDB_API_KEY"], **COMMON, **filters, "page": str(page)},
            timeout=30,
        )
        answer.raise_for_status()
        body = answer.json()
        records += body["results"]
        last = min(body["total_pages"], 500)
        print(f"{folder}: page {page}, {len(records)} records so far")
    return records[:MOST_RECORDS]


def save(records: list[dict[str, Any]], name: str) -> Path:
    file = Path(os.environ["LOCAL_DIR"], name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as target:
        json.dump(records, target, ensure_ascii=False, indent=4)
    print(f"saved {file}")
    return file


def upload(files: dict[str, Path], bucket: str) -> None:
    import boto3  # noqa: PLC0415 - a quarter of a second that a local run should not pay

    client = boto3.client("s3", endpoint_url=os.environ.get("ENDPOINT_URL"))
    for key, file in files.items():
        client.upload_file(str(file), bucket, key)
        print(f"uploaded s3://{bucket}/{key}")


def lambda_handler(_event: object, _context: object) -> dict[str, Any]:
    now = datetime.now(UTC)
    prefix = os.environ.get("RAW_ZONE_PATH", "raw/TMDB/JSON")
    files = {}
    for folder in LISTS:
        name = f"{folder}/{now:%Y/%m/%d}/{folder.lower()}_{now:%Y-%m-%d}.json"
        files[f"{prefix}/{name}"] = save(fetch(folder), name)
    if bucket := os.environ.get("BUCKET_NAME"):
        upload(files, bucket)
    return {"statusCode": 200, "body": "landed"}


if __name__ == "__main__":
    lambda_handler({}, None)
