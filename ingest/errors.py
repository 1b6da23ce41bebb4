"""Every error this package raises on purpose.

::

    IngestError
    ├── SettingsError         a setting is missing or wrong                     exit 2
    ├── EventError            an invocation event is not one we know            exit 2
    ├── UsageError            what was asked for makes no sense                 exit 2
    ├── CredentialsRefused    TMDB or the store refuses the credentials         exit 3
    ├── TmdbError             TMDB gave no usable answer                        exit 1
    │   ├── UnknownParameter  a parameter TMDB would silently ignore
    │   ├── TmdbRefused       an answer that a repeated request cannot change
    │   ├── CannotSplit       more titles than TMDB hands out, and nothing to split them by
    │   ├── PlanOutgrown      a window has more titles by now than TMDB hands out
    │   └── TmdbUnavailable   retries used up                                   retryable
    ├── SecretUnavailable     AWS does not hand out what it keeps               retryable
    ├── DeadlineExceeded      the time for the run is used up                   retryable
    ├── EmptyDataset          TMDB has no record for these filters              exit 1
    ├── RecordTooLarge        one record alone exceeds what a file may hold     exit 1
    ├── CorruptFile           a file of the raw zone does not hold what its name says
    ├── StoreError            a store could not do an operation                 exit 1
    │   ├── StoreUnreachable  nothing answers where the store should be         exit 1
    │   └── NotFound          the object does not exist                         exit 4
    │       └── BucketNotFound    not even its bucket does
    ├── Incomplete            not all is there that should be                   exit 1
    ├── ExecutionFailed       Step Functions refused, or an execution failed    exit 1
    ├── Defect                an error in this program itself                   exit 1
    └── RunFailed             at least one dataset did not land                 exit 1

``str(error)`` is one line that can be shown to a user as it is: what went wrong, where, and
where we know it what to do about it. It never contains a secret.
"""

from __future__ import annotations

from typing import Self


class IngestError(Exception):
    """The root: ``exit_code`` is a process's status, ``retryable`` says if waiting may help."""

    exit_code: int = 1
    retryable: bool = False

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """``message`` says what and where, ``hint`` what a user can do; line breaks are folded."""
        self.message = " ".join(line.strip() for line in message.splitlines())
        self.hint = hint
        super().__init__(f"{self.message} ({hint})" if hint else self.message)


class SettingsError(IngestError):
    """A setting is missing or wrong; names the variable, what it holds and what it should."""

    exit_code = 2


class EventError(IngestError):
    """An invocation event is not one of those the handler knows; names the field."""

    exit_code = 2


class UsageError(IngestError):
    """What was asked for on the command line, or in a call, makes no sense."""

    exit_code = 2


class CredentialsRefused(IngestError):
    """TMDB or the store refuses the credentials, or what they ask for."""

    exit_code = 3


class TmdbError(IngestError):
    """TMDB gave no usable answer."""


class UnknownParameter(TmdbError):
    """A parameter the endpoint does not know: TMDB would ignore it and answer unfiltered."""


class TmdbRefused(TmdbError):
    """An answer that a repeated request cannot change: 400, 403, 404, 422, an unexpected shape."""


class CannotSplit(TmdbError):
    """More titles than TMDB hands out for one query, and nothing to split them by."""


class PlanOutgrown(TmdbError):
    """A window of a backfill has more titles by now than TMDB hands out; plan it anew."""


class TmdbUnavailable(TmdbError):
    """Retries used up on 429, 5xx, timeouts, dropped connections or unreadable bodies."""

    retryable = True


class SecretUnavailable(IngestError):
    """AWS cannot be reached, or fails, where it keeps the credential of TMDB."""

    retryable = True


class DeadlineExceeded(IngestError):
    """The time for the run is used up, or less is left than the next step needs."""

    retryable = True


class EmptyDataset(IngestError):
    """TMDB has no record for these filters, and ``ALLOW_EMPTY`` is not set."""


class RecordTooLarge(IngestError):
    """One record alone exceeds the size that a file in the raw zone may have."""


class CorruptFile(IngestError):
    """A file of the raw zone does not hold what its name says; ``force`` fetches it anew."""


class StoreError(IngestError):
    """A store could not do an operation; names operation, store, key and the store's answer.

    Where ``is_local``, it is this machine's file system that refused; then it names the file.
    """

    is_local = False


class StoreUnreachable(StoreError):
    """Nothing answers where the store should be: no such host, no such port, no way there."""


class NotFound(StoreError):
    """The object does not exist."""

    exit_code = 4


class BucketNotFound(NotFound):
    """The bucket does not exist, and so nothing in it."""


class Incomplete(IngestError):
    """Not all is there that should be: windows of a backfill, objects of a transfer."""


class ExecutionFailed(IngestError):
    """An execution of Step Functions failed, or could not be started or looked at."""


class Defect(IngestError):
    """An error in this program itself, which its log tells with where it happened."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return what is shown of ``error``; not its text, which may hold anything."""
        return cls(f"{type(error).__name__} in the program itself; its log says where")


class RunFailed(IngestError):
    """At least one dataset did not land; names each with its error.

    ``exit_code`` is 3 where refused credentials are among the causes, and 1 otherwise.
    """

    def __init__(self, message: str, *, causes: tuple[IngestError, ...] = ()) -> None:
        """``causes`` are the errors of the datasets that failed."""
        super().__init__(message)
        self.causes = causes
        if any(isinstance(cause, CredentialsRefused) for cause in causes):
            self.exit_code = CredentialsRefused.exit_code
