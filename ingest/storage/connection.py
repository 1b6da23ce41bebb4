"""How to reach an S3 API: endpoint, region, credentials, and the clients that are made of them.

``obstore`` is for object bodies and starts in a tenth of boto3's time. boto3 is loaded only where
it is needed: for what obstore does not have, for keys it would change, and for credentials that
are not in the environment.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from obstore.exceptions import BaseError
from obstore.store import S3Store as ObjectStore

from ingest.errors import SettingsError
from ingest.settings import AccessKey
from ingest.storage import providers

if TYPE_CHECKING:
    from boto3.session import Session
    from mypy_boto3_s3 import S3Client

    from ingest.storage.providers import Provider

_CONNECT_S, _SEND_S, _READ_S = 5, 20, 60
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class Connection:
    """Where an S3 API is and who asks. Without ``access_key``, AWS's chain finds the credentials.

    ``provider`` is a name of ``providers.names()``; by default the endpoint tells. ``patience_s``
    is how long one small object may take, and how long one that fails is tried again.
    """

    endpoint_url: str | None = None
    region: str | None = None
    access_key: AccessKey | None = field(default=None, repr=False)
    provider: str | None = None
    profile: str | None = None
    patience_s: int = 120


class Clients:
    """What talks to the S3 API of a connection, each made when it is first needed."""

    def __init__(self, connection: Connection) -> None:
        """Make nothing yet."""
        self.connection = connection
        self.provider: Provider = providers.choose(connection.provider, connection.endpoint_url)
        self._session: Session | None = None
        self._client: S3Client | None = None
        self._chain: Any = None

    @property
    def at(self) -> str:
        """The endpoint, as it ends a message; empty for AWS."""
        url = self.connection.endpoint_url
        return f" at {url}" if url else ""

    @property
    def region(self) -> str:
        """The region to sign for: the user's, the profile's, the provider's usual one."""
        if self.connection.region:
            return self.connection.region
        of_profile = None if self.connection.access_key else self._boto3_session().region_name
        return of_profile or self.provider.region

    def is_path_style(self, bucket: str) -> bool:
        """Whether ``bucket`` goes into the path: a dot in a host would break its certificate."""
        return self.provider.path_style or bool(self.connection.endpoint_url) or "." in bucket

    def access_key(self) -> AccessKey:
        """Return the credentials as they are now; temporary ones are renewed."""
        if self.connection.access_key:
            return self.connection.access_key
        found = self._aws_chain()()
        return AccessKey(found["access_key_id"], found["secret_access_key"], found["token"])

    def objects(self, bucket: str, **options: Any) -> ObjectStore:  # noqa: ANN401 - obstore's own
        """Return obstore's store for ``bucket``."""
        # Given as a function even where they are known: obstore would mix keys given as arguments
        # with a session token of the environment.
        credentials = self._static if self.connection.access_key else self._aws_chain()
        if self.provider.name == "aws":
            options["checksum_algorithm"] = "SHA256"
        if self.connection.endpoint_url:
            options["endpoint"] = self.connection.endpoint_url
        patience_s = self.connection.patience_s
        try:
            return ObjectStore(
                bucket,
                region=self.region,
                credential_provider=credentials,
                virtual_hosted_style_request=not self.is_path_style(bucket),
                client_options={
                    "allow_http": (self.connection.endpoint_url or "").startswith("http://"),
                    "connect_timeout": f"{_CONNECT_S}s",
                    "timeout": f"{patience_s}s",
                },
                retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=patience_s)},
                # Each object by a request of its own, which every store knows.
                disable_bulk_delete=True,
                # Said here, lest obstore takes it from variables of its own.
                skip_signature=False,
                unsigned_payload=False,
                **options,
            )
        except BaseError as error:
            reason = " ".join(str(error).partition("Debug source")[0].split())
        raise SettingsError(f"the settings of the store make no sense: {reason}")

    def client(self) -> S3Client:
        """Return the boto3 client, which threads may share."""
        with _making:
            if self._client is None:
                self._client = self._make_client()
            return self._client

    def _make_client(self) -> S3Client:
        from botocore.config import Config  # noqa: PLC0415 - loads boto3: see the module

        session = self._boto3_session()
        key = self.connection.access_key
        checksums = self.provider.checksums
        # Not "auto": links to AWS would then name its global host, whatever the region.
        style: Literal["path", "virtual"]
        style = "path" if self.provider.path_style or self.connection.endpoint_url else "virtual"
        return session.client(
            "s3",
            endpoint_url=self.connection.endpoint_url,
            region_name=self.region,
            aws_access_key_id=key.access_key_id if key else None,
            aws_secret_access_key=key.secret_access_key if key else None,
            aws_session_token=key.session_token if key else None,
            config=Config(
                # urllib3 sends under this one, too: a store may stall for a while.
                connect_timeout=_SEND_S,
                read_timeout=_READ_S,
                max_pool_connections=32,
                signature_version="s3v4",
                request_checksum_calculation=checksums,
                response_checksum_validation=checksums,
                retries={"mode": "standard", "total_max_attempts": 3},
                s3={"addressing_style": style, "payload_signing_enabled": False},
            ),
        )

    def _boto3_session(self) -> Session:
        if self._session is None:
            import boto3  # noqa: PLC0415 - loads boto3: see the module
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415

            try:
                self._session = boto3.Session(profile_name=self.connection.profile)
            except BotoCoreError as error:
                raise SettingsError(f"AWS_PROFILE, or --profile: {error}") from None
        return self._session

    def _static(self) -> Any:  # noqa: ANN401 - obstore's protocol
        key = self.access_key()
        return {
            "access_key_id": key.access_key_id,
            "secret_access_key": key.secret_access_key,
            "token": key.session_token,
            "expires_at": None,
        }

    def _aws_chain(self) -> Any:  # noqa: ANN401 - obstore's protocol
        """Look where AWS's tools do: profile, SSO, web identity, container, host."""
        if self._chain is None:
            session = self._boto3_session()
            from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - as above
            from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

            try:
                self._chain = Boto3CredentialProvider(session)
            except BotoCoreError as error:
                raise _no_credentials(str(error)) from None
            except ValueError:
                nowhere = "neither in the environment nor in a profile, container or instance role"
                raise _no_credentials(nowhere) from None
        return self._chain


def _no_credentials(reason: str) -> SettingsError:
    return SettingsError(
        f"no S3 credentials found: {reason}",
        hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    )
