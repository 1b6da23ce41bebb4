"""The plain way to do the daily ingest in Lambda: ``requests``, and ``boto3``'s clients.

Each list is asked for as in ``plain.py``, page after page. Clients are made, and the key of TMDB is
read, where AWS advises to do so: at the start of the function, and not in each invocation.
"""

from __future__ import annotations

import json
import os
from typing import Any

import boto3

from plain import LISTS, fetch

s3 = boto3.client("s3", endpoint_url=os.environ.get("ENDPOINT_URL"))
if secret := os.environ.get("TMDB_SECRET_ARN"):
    secrets = boto3.client("secretsmanager")
    os.environ |= json.loads(secrets.get_secret_value(SecretId=secret)["SecretString"])


def lambda_handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    day = event["scheduled_time"][:10]
    for folder in LISTS:
        body = json.dumps(fetch(folder), ensure_ascii=False, indent=4).encode()
        name = f"{folder}/{day.replace('-', '/')}/{folder.lower()}_{day}.json"
        key = f"{os.environ['RAW_ZONE_PATH']}/{name}"
        s3.put_object(Bucket=os.environ["BUCKET_NAME"], Key=key, Body=body)
    return {"statusCode": 200, "body": "landed"}
