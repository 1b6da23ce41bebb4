"""A directory, or one file, to or from a bucket by boto3's transfer manager: a peer to measure.

::

    python bench/boto3_transfer.py upload DIRECTORY BUCKET
    python bench/boto3_transfer.py download DIRECTORY BUCKET

What people write who use boto3 for it: one client, one transfer manager, all files submitted. With
``--check`` each file is compared with its ETag where that is an MD5, as rclone and we do it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from pathlib import Path

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config

PREFIX = "p/"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("direction", choices=("upload", "download"))
    parser.add_argument("local", type=Path)
    parser.add_argument("bucket")
    parser.add_argument("--concurrency", type=int, default=10)
    parser.add_argument("--part-mib", type=int, default=8)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    part_size = options.part_mib << 20
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["AWS_ENDPOINT_URL"],
        config=Config(
            max_pool_connections=options.concurrency,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    how = TransferConfig(
        max_concurrency=options.concurrency,
        multipart_chunksize=part_size,
        multipart_threshold=part_size,
    )
    etags: dict[Path, str] = {}
    with create_transfer_manager(client, how) as manager:
        if options.direction == "upload":
            files = (path for path in options.local.rglob("*") if path.is_file())
            pending = [
                manager.upload(
                    str(path), options.bucket, PREFIX + str(path.relative_to(options.local))
                )
                for path in files
            ]
        else:
            pending = []
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=options.bucket, Prefix=PREFIX
            )
            for entry in (entry for page in pages for entry in page.get("Contents", ())):
                path = options.local / entry["Key"].removeprefix(PREFIX)
                path.parent.mkdir(parents=True, exist_ok=True)
                etags[path] = entry["ETag"].strip('"')
                pending.append(manager.download(options.bucket, entry["Key"], str(path)))
        for future in pending:
            future.result()
    if options.check:
        for path, etag in etags.items():
            with path.open("rb") as file:
                if "-" not in etag and hashlib.file_digest(file, "md5").hexdigest() != etag:
                    raise SystemExit(f"{path} is not what was sent")


if __name__ == "__main__":
    main()
