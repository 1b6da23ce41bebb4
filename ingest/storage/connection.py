"""How to reach an S3 API: endpoint, region, credentials, and the clients that are made of them.

Objects go over connections of our own (``api``). boto3 is loaded only where it is needed: for
copies, for deletes of many, and for credentials that are not in the environment.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from ingest.errors import CredentialsRefused, SettingsError
from ingest.settings import AccessKey
from ingest.storage import providers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from boto3.session import Session
    from botocore.credentials import Credentials
    from botocore.session import Session as BotocoreSession
    from mypy_boto3_s3 import S3Client

    from ingest.storage.providers import Provider

_SEND_S, _READ_S = 20, 60
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an S3 API is and who asks.

    Without ``access_key``, AWS's chain finds the credentials, and the profile's ``endpoint_url``,
    ``region`` and ``addressing_style`` stand in for what is None here. ``provider`` is a name of
    ``providers.names()``; by default the endpoint tells. ``path_style`` says whether the bucket
    goes into the path of an address, or before the name of the host; by default the provider
    tells. ``patience_s`` is how long a small object that fails is tried again, and the most that is
    waited for some bytes of an answer.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: AccessKey | None = field(default=None, repr=False)
    provider: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    patience_s: int = 120


class Clients:
    """What talks to the S3 API of a connection, each made when it is first needed."""

    def __init__(self, connection: Connection) -> None:
        """Make nothing yet."""
        self._asked = connection
        self._client: S3Client | None = None

    @cached_property
    def connection(self) -> Connection:
        """The connection, with what its profile adds. Raises ``SettingsError``."""
        found = self._asked
        if not found.access_key:
            found = _with_profile(found, self._profile)
        if found.endpoint_url is not None:
            _refuse_malformed(found.endpoint_url)
        return found

    @cached_property
    def provider(self) -> Provider:
        """What to know of the provider. Raises ``SettingsError``."""
        return providers.choose(self.connection.provider, self.connection.endpoint_url)

    @property
    def at(self) -> str:
        """The endpoint, as it ends a message; empty for AWS."""
        url = self.connection.endpoint_url
        return f" at {url}" if url else ""

    @property
    def region(self) -> str:
        """The region to sign for: the user's, the profile's, the provider's usual one."""
        return self.connection.region or self.provider.region

    def is_path_style(self, bucket: str) -> bool:
        """Whether ``bucket`` goes into the path: a dot in a host would break its certificate."""
        return self._path_style or "." in bucket

    @property
    def _path_style(self) -> bool:
        """Whether all buckets do; at an address that is not the provider's own, unless asked."""
        if self.connection.path_style is not None:
            return self.connection.path_style
        endpoint_url = self.connection.endpoint_url
        return self.provider.path_style or not (
            endpoint_url is None or self.provider.serves(endpoint_url)
        )

    def access_key(self) -> AccessKey:
        """Return the credentials as they are now; temporary ones are renewed.

        Raises ``SettingsError`` where there are none, ``CredentialsRefused`` where they cannot be
        renewed.
        """
        if self.connection.access_key:
            return self.connection.access_key
        from botocore.exceptions import (  # noqa: PLC0415 - loads boto3: see the module
            BotoCoreError,
            ClientError,
        )

        chain = self._chain
        try:
            found = chain.get_frozen_credentials()
        except (BotoCoreError, ClientError, RuntimeError) as error:
            raise CredentialsRefused(str(error), hint="renew the credentials") from None
        return AccessKey(found.access_key or "", found.secret_key or "", found.token)

    def client(self) -> S3Client:
        """Return the boto3 client, which threads may share."""
        with _making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> S3Client:
        from botocore.config import Config  # noqa: PLC0415 - loads boto3: see the module

        key = self.connection.access_key
        checksums = self.provider.checksums
        # Not "auto": links to AWS would then name its global host, whatever the region.
        style: Literal["path", "virtual"]
        style = "path" if self._path_style else "virtual"
        return self._session.client(
            "s3",
            endpoint_url=self.connection.endpoint_url,
            region_name=self.region,
            aws_access_key_id=key.access_key_id if key else None,
            aws_secret_access_key=key.secret_access_key if key else None,
            aws_session_token=key.session_token if key else None,
            verify=_authorities(),
            config=Config(  # type: ignore[call-arg]  # its types do not know the last but one
                # urllib3 sends under this one, too: a store may stall for a while.
                connect_timeout=_SEND_S,
                read_timeout=_READ_S,
                max_pool_connections=32,
                signature_version="s3v4",
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                retries={"mode": "standard", "total_max_attempts": 3},
                # Those that count are in the connection: all clients are to ask the same store.
                ignore_configured_endpoint_urls=True,
                s3={"addressing_style": style, "payload_signing_enabled": False},
            ),
        )

    @cached_property
    def _profile(self) -> BotocoreSession:
        """The profile that is named, here or by the environment, with what its files say."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - loads boto3: see the module
        from botocore.session import Session  # noqa: PLC0415 - as above

        found = Session(profile=self._asked.profile)
        try:
            found.get_scoped_config()
        except BotoCoreError as error:
            raise SettingsError(f"AWS_PROFILE, or --profile: {error}") from None
        return found

    @cached_property
    def _session(self) -> Session:
        import boto3  # noqa: PLC0415 - as above

        return boto3.Session(botocore_session=self._profile)

    @cached_property
    def _chain(self) -> Credentials:
        """What is found where AWS's tools look: profile, SSO, web identity, container, host."""
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above

        try:
            found = self._session.get_credentials()
        except BotoCoreError as error:
            raise _no_credentials(str(error)) from None
        if found is None:
            nowhere = "neither in the environment nor in a profile, container or instance role"
            raise _no_credentials(nowhere)
        return found


def _refuse_malformed(url: str) -> None:
    """Raise ``SettingsError`` for what is no endpoint; one that may have a secret is not shown."""
    if not {"@", "?", "#"}.isdisjoint(url):
        raise SettingsError(
            "the endpoint has a user, a query or a fragment",
            hint="give scheme, host and port alone",
        )
    if "://" not in url:
        raise SettingsError(
            f"the endpoint {url!r} has no scheme", hint=f"write http://{url} or https://{url}"
        )
    try:
        where = urlsplit(url)
        whole = where.scheme in {"http", "https"} and where.hostname and where.port != 0
    except ValueError:
        whole = False
    if not whole or not url.isascii() or not url.isprintable() or " " in url:
        raise SettingsError(
            f"the endpoint {url!r} is no address of an S3 API",
            hint="write http:// or https://, a host and a port",
        )


def _with_profile(asked: Connection, profile: BotocoreSession) -> Connection:
    """Return ``asked`` with what the files of AWS's tools say of the profile, where it is None."""
    config: Any = profile.get_scoped_config()
    services: Any = profile.full_config.get("services", {})
    service = _section(services.get(config.get("services"), {}), "s3")
    endpoint_url = service.get("endpoint_url") or config.get("endpoint_url")
    style = _section(config, "s3").get("addressing_style", "")
    path_style = {"path": True, "virtual": False}.get(style)
    return replace(
        asked,
        endpoint_url=asked.endpoint_url or (endpoint_url and endpoint_url.rstrip("/")),
        region=asked.region or profile.get_config_variable("region"),
        path_style=path_style if asked.path_style is None else asked.path_style,
    )


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, str]:
    """Return the lines that are indented below ``name``, if there are any."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _authorities() -> str | None:
    """Return the file that ``SSL_CERT_FILE`` names, in which boto3 alone does not look by itself.

    It is what everything here trusts then; else ``AWS_CA_BUNDLE`` is heeded, but by boto3 alone.
    """
    import ssl  # noqa: PLC0415 - loads with boto3: see the module

    paths = ssl.get_default_verify_paths()
    return paths.cafile if paths.cafile != paths.openssl_cafile else None


def _no_credentials(reason: str) -> SettingsError:
    return SettingsError(
        f"no S3 credentials found: {reason}",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    )
