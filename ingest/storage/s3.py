"""A bucket of an S3-compatible store.

Object bodies travel through ``obstore``, which starts in a tenth of boto3's time and moves small
objects ten times as fast. Its keys are not exact, so that an odd key goes through boto3, which is
loaded only then, or where credentials must be looked for beyond the environment.
"""

from __future__ import annotations

import functools
import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore.exceptions import InvalidPathError
from obstore.store import S3Store as ObjectStore

from ingest.errors import (
    BucketNotFound,
    CredentialsRefused,
    IngestError,
    NotFound,
    SettingsError,
    StoreError,
)
from ingest.storage.base import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.settings import AccessKey
    from ingest.storage.base import PutItem

_WORKERS = 16
_DEFAULT_REGION = "us-east-1"
_ODD_SEGMENTS = frozenset({"", ".", ".."})


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a bucket. Without ``access_key`` boto3's chain finds the credentials."""

    bucket: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key: AccessKey | None = None

    @property
    def is_aws(self) -> bool:
        """Whether this is AWS itself, which verifies checksums others do not know."""
        return self.endpoint_url is None or ".amazonaws.com" in self.endpoint_url


class S3Store:
    """Objects of one bucket."""

    def __init__(self, connection: Connection) -> None:
        """Make no request yet. Raises ``SettingsError`` where no credentials are to be found."""
        self._connection = connection
        self._objects = _open(connection)

    @property
    def url(self) -> str:
        """``s3://bucket``."""
        return f"s3://{self._connection.bucket}"

    def put_many(self, items: Iterable[PutItem]) -> Iterator[Outcome]:
        """Write items side by side; at most twice the number of workers are under way."""
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="s3") as workers:
            under_way: deque[Any] = deque()
            for item in items:
                under_way.append(workers.submit(self._put, item))
                if len(under_way) == 2 * _WORKERS:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()

    def read(self, key: str) -> bytes:
        """Return an object's content."""
        try:
            if _is_odd(key):
                answer = self._client.get_object(Bucket=self._connection.bucket, Key=key)
                return bytes(answer["Body"].read())
            return bytes(obstore.get(self._objects, key).bytes())
        except Exception as error:  # noqa: BLE001 - translated, and what we do not know re-raised
            failure = self._translate("read", key, error)
        raise failure

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects one by one."""
        for key in keys:
            try:
                if _is_odd(key):
                    self._client.delete_object(Bucket=self._connection.bucket, Key=key)
                else:
                    obstore.delete(self._objects, key)
            except Exception as error:  # noqa: BLE001 - translated
                failure = self._translate("delete", key, error)
                if isinstance(failure, BucketNotFound) or not isinstance(failure, NotFound):
                    raise failure from None

    def names(self, directory: str) -> set[str]:
        """Return the keys directly in ``directory``."""
        try:
            return self._names(directory)
        except Exception as error:  # noqa: BLE001 - translated
            failure = self._translate("list", directory, error)
        raise failure

    def _names(self, directory: str) -> set[str]:
        try:
            found = obstore.list_with_delimiter(self._objects, directory)["objects"]
            return {entry["path"] for entry in found}
        except InvalidPathError:
            # One odd key, put there by somebody else, makes obstore refuse the whole list.
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._connection.bucket, Prefix=directory, Delimiter="/"
            )
            return {entry["Key"] for page in pages for entry in page.get("Contents", ())}

    def _put(self, item: PutItem) -> Outcome:
        try:
            size = item.source.stat().st_size if isinstance(item.source, Path) else len(item.source)
            if _is_odd(item.key):
                self._put_odd(item)
            else:
                attributes: Any = {"Content-Type": item.content_type, **item.metadata}
                obstore.put(self._objects, item.key, item.source, attributes=attributes)
        except Exception as error:  # noqa: BLE001 - translated
            return Outcome(item.key, 0, self._translate("write", item.key, error))
        return Outcome(item.key, size)

    def _put_odd(self, item: PutItem) -> None:
        target = {"Bucket": self._connection.bucket, "Key": item.key}
        extra = {"ContentType": item.content_type, "Metadata": dict(item.metadata)}
        if isinstance(item.source, Path):
            with item.source.open("rb") as body:
                self._client.put_object(**target, **extra, Body=body)
        else:
            self._client.put_object(**target, **extra, Body=item.source)

    @functools.cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """A boto3 client for the keys that obstore would not carry unchanged."""
        import boto3  # noqa: PLC0415 - a quarter of a second, for the few who need it
        from botocore.config import Config  # noqa: PLC0415

        # Since boto3 1.36 its default checksums are trailers, which break other stores than AWS.
        checksums: Literal["when_supported", "when_required"]
        checksums = "when_supported" if self._connection.is_aws else "when_required"
        key = self._connection.access_key
        return boto3.client(
            "s3",
            endpoint_url=self._connection.endpoint_url,
            region_name=self._connection.region or _DEFAULT_REGION,
            aws_access_key_id=key.access_key_id if key else None,
            aws_secret_access_key=key.secret_access_key if key else None,
            aws_session_token=key.session_token if key else None,
            config=Config(
                connect_timeout=5,
                read_timeout=30,
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                retries={"mode": "standard", "total_max_attempts": 4},
                s3={"addressing_style": "auto" if self._connection.is_aws else "path"},
            ),
        )

    def _translate(self, verb: str, key: str, error: Exception) -> IngestError:
        """Return our error for one of obstore's or boto3's."""
        endpoint = self._connection.endpoint_url
        where = f"{self.url}/{key}" + (f" at {endpoint}" if endpoint else "")
        return translate(f"cannot {verb} {where}", error)


def _is_odd(key: str) -> bool:
    """Whether object_store would refuse or change ``key``: it normalises paths."""
    return not _ODD_SEGMENTS.isdisjoint(key.split("/")) or any(
        char < " " or char == "\x7f" for char in key
    )


def _open(connection: Connection) -> ObjectStore:
    options: dict[str, Any] = {"checksum_algorithm": "SHA256"} if connection.is_aws else {}
    if connection.endpoint_url:
        options["endpoint"] = connection.endpoint_url
    credentials = _credential_provider(connection.access_key)
    of_profile = getattr(credentials, "config", {}).get("region")
    return ObjectStore(
        connection.bucket,
        region=connection.region or of_profile or _DEFAULT_REGION,
        credential_provider=credentials,
        client_options={
            "allow_http": (connection.endpoint_url or "").startswith("http://"),
            "connect_timeout": "5s",
            "timeout": "30s",
        },
        retry_config={"max_retries": 6, "retry_timeout": timedelta(seconds=15)},
        # Each object by a request of its own, which every store knows.
        disable_bulk_delete=True,
        **options,
    )


def _credential_provider(access_key: AccessKey | None) -> Any:  # noqa: ANN401 - obstore's protocol
    """Return what obstore asks for credentials.

    Given as a function even where they are known: obstore would mix keys given as arguments with
    a session token of the environment.
    """
    if access_key is None:
        return _aws_chain()
    return lambda: {
        "access_key_id": access_key.access_key_id,
        "secret_access_key": access_key.secret_access_key,
        "token": access_key.session_token,
        "expires_at": None,
    }


def _aws_chain() -> Any:  # noqa: ANN401 - obstore's protocol
    """Look for credentials where AWS's tools do: profile, SSO, web identity, container, host."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - loads boto3: see the module
    from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

    try:
        return Boto3CredentialProvider()
    except BotoCoreError as error:
        reason = str(error)
    except ValueError:
        reason = "neither in the environment nor in a profile, a container or an instance role"
    raise SettingsError(
        f"no S3 credentials found: {reason}",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    )


_CODE = re.compile(r"<Code>(.*?)</Code>", re.DOTALL)
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_STATUS = re.compile(r"status code: (\d{3})")
_SYSTEM = re.compile(r'(?:message|error): "([^"]+)"')

_REFUSALS = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_HINTS = {
    "AccessDenied": "the run needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket",
    "AuthorizationHeaderMalformed": "set REGION_NAME to the region of the bucket",
    "IllegalLocationConstraintException": "set REGION_NAME to the region of the bucket",
    "NoSuchBucket": "check BUCKET_NAME and ENDPOINT_URL",
    "PermanentRedirect": "set REGION_NAME to the region of the bucket",
    "RequestTimeTooSkewed": "set this machine's clock",
}


def translate(what: str, error: Exception) -> IngestError:
    """Return the error of this package that says ``what`` failed and what the store answered."""
    code, message, status = _answer(error)
    kind: type[IngestError] = StoreError
    if code in _REFUSALS or status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        kind = CredentialsRefused
    elif code == "NoSuchBucket":
        kind = BucketNotFound
    elif code == "NoSuchKey" or status == HTTPStatus.NOT_FOUND:
        kind = NotFound
    said = ": ".join(filter(None, (code, message)))
    return kind(f"{what}: {said or f'HTTP {status}'}", hint=_HINTS.get(code))


def _answer(error: Exception) -> tuple[str, str, int]:
    """Return code, message and HTTP status of a store's answer; a failure on the way has no code.

    obstore has no fields for them: they are read from its text, which quotes the answer.
    """
    response: dict[str, Any] = getattr(error, "response", None) or {}
    if response:  # botocore.exceptions.ClientError
        answer = response.get("Error", {})
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return str(answer.get("Code", "")), str(answer.get("Message", "")), status
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return "", error.strerror, 0
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = found[1] if (found := _CODE.search(text)) else ""
    if found := _MESSAGE.search(text):
        return code, found[1], status
    if code or status:
        return code, "", status
    return "", found[1] if (found := _SYSTEM.search(text)) else text.partition("\n")[0], 0
