"""What can go wrong with the store, told so that somebody can act on it.

Owns `StoreError` and the translation of database errors into it. Whether a caller tries again is
decided once, here, by `retryable`.

Invariants:
    1. No message holds a password, a statement's parameters or a row: they would end up in logs and
       in workflow histories.
    2. The database's own error is not chained, for the same reason.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from temporalio.exceptions import ApplicationError

from activities.failures import STORE_FAILED

MAX_REASON_CHARS = 300


class StoreError(ApplicationError):
    """The store could not do what was asked.

    An `ApplicationError`, so that an activity which lets it pass fails as it should.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        """Say what went wrong.

        Args:
            message: Names the store and what to do.
            retryable: The same call may succeed later without anybody changing anything.
        """
        super().__init__(message, type=STORE_FAILED, non_retryable=not retryable)

    def __str__(self) -> str:
        return self.message

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later without anybody changing anything."""
        return not self.non_retryable


def reason_of(error: SQLAlchemyError) -> str:
    """What the database said, on one line, without statement, parameters or row contents."""
    said = str(error.orig) if isinstance(error, DBAPIError) and error.orig else str(error)
    # PostgreSQL shows the offending row from `DETAIL:` on.
    said = " ".join(said.partition("DETAIL:")[0].split())
    return said[:MAX_REASON_CHARS] or type(error).__name__


def is_retryable(error: SQLAlchemyError) -> bool:
    """Whether the database was busy, gone or out of connections rather than asked for nonsense."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)


@contextmanager
def store_errors(address: str) -> Generator[None, None, None]:
    """Turn what SQLAlchemy raises inside into a `StoreError`.

    Args:
        address: The store's URL as it may be shown.

    Raises:
        StoreError: In place of any SQLAlchemy error.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(
            f"the store {address} failed: {reason_of(error)}", retryable=is_retryable(error)
        ) from None
