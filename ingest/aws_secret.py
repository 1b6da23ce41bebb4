"""A credential that AWS keeps, TMDB's or a store's: in Secrets Manager, or in Systems Manager.

What is kept for TMDB is a v4 access token as plain text, or a JSON object that has the token or the
v3 key under the name of its variable: ``{"TMDB_ACCESS_TOKEN": "eyJ..."}``. It is read through
Powertools' Parameters, which keep it in memory, so that a function that is used again does not ask
again.

Neither what is kept nor a part of it is ever in an error, in its chain, or in a log line.
"""

from __future__ import annotations

import functools
import json
import logging
from typing import TYPE_CHECKING, Any, cast

from ingest.errors import CredentialsRefused, IngestError, SecretUnavailable, SettingsError
from ingest.settings import tmdb_credentials
from ingest.signin import SignIn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.settings import KeptSecret

_MAX_AGE_S = 3600
"""How long what was read is used without asking AWS again. Not to find out what was revoked, which
TMDB tells by a 401, but for how long a token that was replaced and still works stays in use."""

_CONNECT_S, _READ_S, _TRIES = 3, 5, 2
"""AWS answers in a fraction of a second. The worst case, some 16 seconds, still leaves a run of
minutes enough for TMDB."""

_JSON = ("{", "[", '"')
_FIT = 'store the v4 access token alone, or JSON such as {"TMDB_API_KEY": "..."}'
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key pair of AWS, or AWS_PROFILE"
_SIGN_IN = "sign in again: aws sso login"
_ALLOW = {
    "secretsmanager": "allow secretsmanager:GetSecretValue on it, and kms:Decrypt of its key",
    "ssm": "allow ssm:GetParameter on it, and kms:Decrypt of its key",
}
_DENIALS = frozenset(
    "AccessDenied AccessDeniedException DecryptionFailure KMSAccessDeniedException".split()
)
_STRANGERS = frozenset(
    "ExpiredToken ExpiredTokenException IncompleteSignature InvalidClientTokenId "
    "InvalidSignatureException SignatureDoesNotMatch UnrecognizedClientException".split()
)
_WRONG_NAMES = frozenset(
    "InvalidKeyId InvalidParameterException InvalidRequestException ParameterNotFound "
    "ParameterVersionNotFound ResourceNotFoundException ValidationException".split()
)


def read(kept: KeptSecret, *, anew: bool = False) -> SignIn:
    """Return the sign-in that AWS keeps; ``anew`` even where it has been read not long ago.

    Raises ``SettingsError`` where nothing, or nothing fit, is kept under that name,
    ``CredentialsRefused`` where AWS does not allow it to be read, and ``SecretUnavailable`` where
    AWS cannot be reached or fails.
    """
    kept_text = text(kept, anew=anew)
    try:
        found = _credentials(kept_text)
    except SettingsError as error:
        # Else a function that is used again would not see that it was put right.
        _provider(kept).clear_cache()
        reason = str(error)
    else:
        return SignIn(
            token=found.get("tmdb_access_token"),
            key=found.get("tmdb_api_key"),
            hint=f"check the one in {kept}, at themoviedb.org/settings/api",
        )
    raise SettingsError(f"{kept} has no credential of TMDB: {reason}", hint=_FIT)


def text(kept: KeptSecret, *, anew: bool = False) -> str | bytes:
    """Return what AWS keeps, whatever it is; see ``read`` for the rest."""
    found, failure = _fetch(kept, anew=anew)
    if failure:
        # Raised here, outside of every except block, so that nothing is chained to it.
        raise _described(failure, kept)
    return found


def _fetch(kept: KeptSecret, *, anew: bool) -> tuple[str | bytes, Exception | None]:
    """Return what is kept, or the exception that says why it cannot be read."""
    from aws_lambda_powertools.utilities.parameters import GetParameterError  # noqa: PLC0415
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - loads boto3, most runs do not

    options = {"decrypt": True} if kept.service == "ssm" else {}
    try:
        found: str | bytes = _provider(kept).get(
            kept.name, max_age=_MAX_AGE_S, force_fetch=anew, **options
        )
    except GetParameterError as error:
        # It says nothing of its own: what happened is in its context.
        return "", cast("Exception", error.__context__)
    except BotoCoreError as error:
        return "", error
    return found, None


@functools.lru_cache(maxsize=2)
def _provider(kept: KeptSecret) -> Any:  # noqa: ANN401 - the two providers share no useful type
    """Return Powertools' provider with its memory: the same for all invocations of a function."""
    import boto3  # noqa: PLC0415 - heavy, and most runs have no secret to read
    from aws_lambda_powertools.utilities import parameters  # noqa: PLC0415 - loads boto3
    from botocore.config import Config  # noqa: PLC0415 - as above

    # At DEBUG it logs each answer in full, which holds nothing but the secret, and the session
    # token of the function's role.
    logging.getLogger("botocore").setLevel(logging.INFO)
    options: dict[str, Any] = {
        "connect_timeout": _CONNECT_S,
        "read_timeout": _READ_S,
        "retries": {"mode": "standard", "total_max_attempts": _TRIES},
        # AWS_ENDPOINT_URL is where the lake is, which need not be at AWS at all.
        "ignore_configured_endpoint_urls": True,
    }
    key = kept.access_key
    session: Any = boto3.Session(
        aws_access_key_id=key.access_key_id if key else None,
        aws_secret_access_key=key.secret_access_key if key else None,
        aws_session_token=key.session_token if key else None,
        region_name=kept.region,
    )
    client = session.client(kept.service, endpoint_url=kept.endpoint_url, config=Config(**options))
    if kept.service == "ssm":
        return parameters.SSMProvider(boto3_client=client)
    return parameters.SecretsProvider(boto3_client=client)


def _credentials(kept: str | bytes) -> dict[str, str]:
    """Return the credential in what is kept, by its field. Raises ``SettingsError``."""
    try:
        plain = (kept.decode() if isinstance(kept, bytes) else kept).strip()
        document = json.loads(plain) if plain[:1] in _JSON else {"TMDB_ACCESS_TOKEN": plain}
    except (ValueError, RecursionError):
        document = None
    if document is None:
        raise SettingsError("it is neither UTF-8 text nor whole JSON")
    held = document if isinstance(document, dict) else {}
    texts = {name: each for name, each in held.items() if isinstance(each, str)}
    if found := tmdb_credentials(texts):
        return found
    raise SettingsError("it is empty, or JSON without TMDB_ACCESS_TOKEN and TMDB_API_KEY")


def _described(failure: Exception, kept: KeptSecret) -> IngestError:
    """Return the error that says what became of reading ``kept``."""
    from botocore import exceptions  # noqa: PLC0415 - loads boto3, which has been needed by now

    what = f"cannot read {kept}"
    if isinstance(failure, exceptions.ClientError):
        return _refused(failure.response.get("Error", {}), kept)
    if isinstance(failure, exceptions.HTTPClientError | exceptions.ConnectionError):
        return SecretUnavailable(f"{what}: {failure}")
    for kind, hint in (
        (exceptions.NoRegionError, "set AWS_REGION, or name it by its ARN"),
        (exceptions.NoCredentialsError, _KEYS),
        (exceptions.PartialCredentialsError, _KEYS),
        (exceptions.CredentialRetrievalError, _KEYS),
        (exceptions.TokenRetrievalError, _SIGN_IN),
        (exceptions.SSOError, _SIGN_IN),
        (exceptions.ProfileNotFound, "check AWS_PROFILE"),
    ):
        if isinstance(failure, kind):
            return SettingsError(f"{what}: {failure}", hint=hint)
    # Of an error that nobody foresaw the kind alone: its text may quote what came.
    return SecretUnavailable(f"{what}: {type(failure).__name__}")


def _refused(answer: Mapping[str, Any], kept: KeptSecret) -> IngestError:
    """Return the error for an ``answer`` of AWS that is one."""
    code = answer.get("Code", "")
    what = f"cannot read {kept}: {code}: {' '.join(answer.get('Message', '').split())}"
    if code in _DENIALS:
        return CredentialsRefused(what, hint=_ALLOW[kept.service])
    if code in _STRANGERS:
        return CredentialsRefused(what, hint=_KEYS)
    if code in _WRONG_NAMES:
        return SettingsError(what, hint=f"check {kept.variable}")
    return SecretUnavailable(what)
