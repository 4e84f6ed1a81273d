"""Maintenance jobs: what the system does for itself at a fixed interval.

Owns what a job and its report are, and which jobs may be registered. What the jobs do is the
activities'; when they run is a Schedule's. Source: automation.md §11, §14 row 53.

Invariant: a name is registered once.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind

Work = Callable[[datetime], Awaitable[dict[str, Any]]]


class MaintenanceReport(BaseModel):
    """What one execution of a job did; `error` is set instead of `result` when it failed."""

    model_config = ConfigDict(frozen=True)

    name: str
    at: AwareDatetime
    result: dict[str, Any] = {}
    error: str | None = None


@dataclass(frozen=True)
class MaintenanceJob:
    """A job: its work is given the time and answers what it did, as JSON."""

    name: str
    interval: timedelta
    work: Work


class MaintenanceJobs:
    """The jobs of a worker, by name; register them before it starts."""

    def __init__(self) -> None:
        self._jobs: dict[str, MaintenanceJob] = {}

    def register(self, name: str, interval: timedelta, work: Work) -> None:
        """Add a job.

        Args:
            name: Unique and not blank.
            interval: Longer than 0, in whole seconds; a tick is skipped while the former runs.
            work: A coroutine function that is given the time; what it raises is logged.

        Raises:
            DomainError: `missing_field` or `conflict` on `name`, `invalid_field` on `interval` or
                `work`.
        """
        key = name.strip()
        if not key:
            raise DomainError(
                ErrorKind.MISSING_FIELD, "name", "name is missing: a maintenance job needs one"
            )
        if interval < timedelta(seconds=1):
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "interval",
                f"interval of {key!r} must be > 0, at least a second, not {interval}",
            )
        if not callable(work):
            raise DomainError(
                ErrorKind.INVALID_FIELD, "work", f"work of {key!r} must be a coroutine function"
            )
        if key in self._jobs:
            raise DomainError(
                ErrorKind.CONFLICT, "name", f"a maintenance job {key!r} is registered already"
            )
        self._jobs[key] = MaintenanceJob(name=key, interval=interval, work=work)

    def __iter__(self) -> Iterator[MaintenanceJob]:
        """All jobs, in the order they were registered."""
        return iter(self._jobs.values())

    def get(self, name: str) -> MaintenanceJob | None:
        """The job of that name, null if this worker has none."""
        return self._jobs.get(name)
