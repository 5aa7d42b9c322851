"""What PostgreSQL's errors mean to callers. Knows the classes of errors; decides nothing about transactions."""

from __future__ import annotations

import asyncpg

from outrider.errors import Conflict, Internal, LogCold, OutriderError, Overloaded, StorageFull

_E = asyncpg.exceptions  # (the names that the package itself does not lead)

# The connection is gone, or of no use: a new one may do. What was sent before may have been done, or not.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the driver lost its place in the protocol
    _E.PostgresConnectionError,
    _E.AdminShutdownError,
    _E.CrashShutdownError,
    _E.CannotConnectNowError,
    _E.TooManyConnectionsError,
    _E.IdleSessionTimeoutError,
    _E.IdleInTransactionSessionTimeoutError,
    EOFError,
)
# The transaction was undone by the server for the sake of another: the same again may do.
AGAIN = (_E.DeadlockDetectedError, _E.SerializationError, _E.LockNotAvailableError)
# The statement can't be done with these values; others are not concerned.
ONE_S_OWN = (
    _E.DataError,
    _E.IntegrityConstraintViolationError,
    _E.TriggeredDataChangeViolationError,
    ValueError,
    OverflowError,
)
FAILURES = (*LOST, asyncpg.PostgresError, OutriderError, ValueError, OverflowError)


def lost(error: BaseException) -> bool:
    """Whether the connection is to blame. (Wrong use of the driver, an InterfaceError too, is an ordinary failure.)"""
    return isinstance(error, LOST) and not isinstance(error, _E.DataError)


def unusable(error: Exception, place: str) -> OutriderError:
    """The URL can't be used; its text may hold a password and is not repeated."""
    return Internal(
        f"The database at {place} can't be used: the URL or its TLS settings are wrong: {type(error).__name__}."
    )


def unreachable(place: str) -> Overloaded:
    return Overloaded(
        f"The database at {place} can't be reached. What was sent may have been stored, or not: send it again.",
        retry_after=1.0,
    )


def translate(error: BaseException, place: str) -> OutriderError:
    """The error of our tree for one of the server's or the driver's."""
    if isinstance(error, OutriderError):
        return error
    if lost(error):
        return unreachable(place)
    if isinstance(error, AGAIN):
        return Overloaded("The database was busy with the same rows. Nothing was stored.", retry_after=1.0)
    if isinstance(error, _E.DiskFullError):
        return StorageFull("The log could not be written: the database server's disk is full. Nothing was stored.")
    if isinstance(error, _E.ReadOnlySQLTransactionError):
        return Overloaded("The database takes no writes: it is read-only. Nothing was stored.", retry_after=1.0)
    if isinstance(error, _E.InsufficientResourcesError):
        return Overloaded("The database server is out of memory or connections. Nothing was stored.", retry_after=1.0)
    if isinstance(error, _E.TriggeredDataChangeViolationError):
        return LogCold("The log is cold.")
    if isinstance(error, _E.UniqueViolationError):
        return Conflict("Something with this id is stored already.")
    return Internal(f"The database failed: {type(error).__name__}: {error}")
