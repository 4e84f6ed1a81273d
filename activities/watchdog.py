"""The watchdog: routines that are due and do not run, runs that do not end.

Owns one round: list whom to suspect, ask each routine for the truth, send alerts. The judgement is
`domain.watchdog`'s, the suspicion `domain.lateness`', the cooldown `activities.alerts`'.
Source: automation.md §11, DESIGN §3 rule 15.

Invariants:
    1. An alert is sent only after the routine itself has said how it is.
    2. A round in which nothing is suspicious is two listings and wakes no routine.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client, WorkflowQueryRejectedError
from temporalio.common import QueryRejectCondition
from temporalio.service import RPCError

from activities import search_attributes as attributes
from activities.alerts import AlertActivities, SendAlert
from domain.identifiers import ROUTINE_PREFIX, routine_workflow_id
from domain.lateness import ListedRun, suspects
from domain.routine_requests import RoutineAnswer
from domain.timestamps import format_timestamp, whole_second
from domain.watchdog import AlertKind, classify

INTERVAL: Final = timedelta(seconds=60)
NAME: Final = "watchdog"
PAGE_SIZE: Final = 1_000
QUESTIONS_AT_ONCE: Final = 8
QUERY_TIMEOUT: Final = timedelta(seconds=10)

log = structlog.get_logger(__name__)


class Finding(BaseModel):
    """One routine that needs attention.

    Attributes:
        told: Whether an alert was sent in this round; else one was a short while ago, or it could
            not be sent.
        silent: The routine did not answer, so this is by what is listed of it alone.
    """

    model_config = ConfigDict(frozen=True)

    kind: AlertKind
    routine: str
    overdue_by: int | None = None
    running_for: int | None = None
    told: bool = False
    silent: bool = False


class WatchdogReport(BaseModel):
    """One round: how many routines were looked at, and what was found."""

    looked_at: int = 0
    alerts: list[Finding] = []


class Watchdog:
    """Looks after routines."""

    def __init__(
        self, client: Client, alerts: AlertActivities, *, grace: timedelta, run_timeout: timedelta
    ) -> None:
        """Take what is needed.

        Args:
            client: Connection to Temporal.
            alerts: Sends what is found.
            grace: How much later than planned, or longer than allowed, is still in order.
            run_timeout: How long a run may take where its routine does not say.
        """
        self._client = client
        self._alerts = alerts
        self._grace = grace
        self._run_timeout = run_timeout

    async def work(self, now: datetime) -> dict[str, Any]:
        """One round, as a maintenance job; answers a `WatchdogReport`."""
        report = await self.look(now)
        return report.model_dump(mode="json")

    async def look(self, now: datetime) -> WatchdogReport:
        """One round.

        Raises:
            RPCError: Temporal is not reachable.
        """
        overdue_from = now - self._grace
        due = await self._past_due(overdue_from)
        runs = await self._telling_runs(overdue_from) if due else []
        suspected = suspects(due, runs, overdue_from)
        gate = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ask(routine_id: str) -> Finding | None:
            async with gate:
                return await self._judge(routine_id, due[routine_id], now)

        found = await asyncio.gather(*map(ask, suspected))
        return WatchdogReport(looked_at=len(suspected), alerts=[item for item in found if item])

    async def _past_due(self, overdue_from: datetime) -> dict[str, datetime]:
        """Active routines whose own next time has passed."""
        query = (
            f"{attributes.KIND.name} = 'routine' AND ExecutionStatus = 'Running' AND "
            f"{attributes.STATUS.name} = 'active' AND "
            f"{attributes.DUE.name} < '{_time(overdue_from)}'"
        )
        due: dict[str, datetime] = {}
        async for execution in self._client.list_workflows(query, page_size=PAGE_SIZE):
            at = execution.typed_search_attributes.get(attributes.DUE)
            if at is not None:
                due[execution.id.removeprefix(ROUTINE_PREFIX)] = at
        return due

    async def _telling_runs(self, overdue_from: datetime) -> list[ListedRun]:
        """Runs that tell of a next time that is still to come, or was a moment ago."""
        query = (
            f"{attributes.KIND.name} = 'run' AND {attributes.DUE.name} >= '{_time(overdue_from)}'"
        )
        runs: list[ListedRun] = []
        async for execution in self._client.list_workflows(query, page_size=PAGE_SIZE):
            values = execution.typed_search_attributes
            routine, at = values.get(attributes.ROUTINE), values.get(attributes.DUE)
            if routine is not None and at is not None:
                runs.append(
                    ListedRun(routine_id=routine, started_at=execution.start_time, next_due=at)
                )
        return runs

    async def _judge(self, routine_id: str, due: datetime, now: datetime) -> Finding | None:
        """Ask a routine how it is, and send the alert that this calls for."""
        try:
            answer = await self._ask(routine_id)
        except RPCError as error:
            log.warning("watchdog_unanswered", routine=routine_id, error=str(error))
            late = int((now - due).total_seconds())
            return Finding(kind=AlertKind.OVERDUE, routine=routine_id, overdue_by=late, silent=True)
        if answer is None:
            return None
        routine = answer.routine
        limit = routine.guardrails.run_timeout_seconds or int(self._run_timeout.total_seconds())
        alert = classify(routine, now, limit, int(self._grace.total_seconds()))
        if alert is None:
            return None
        told = await self._alerts.send_alert(SendAlert.of(routine, alert, now))
        log.warning("watchdog_alert", routine=routine_id, told=told, **alert.model_dump())
        return Finding(routine=routine_id, told=told, **alert.model_dump())

    async def _ask(self, routine_id: str) -> RoutineAnswer | None:
        """What the routine says of itself; null when it is gone."""
        handle = self._client.get_workflow_handle(routine_workflow_id(routine_id))
        try:
            answer: RoutineAnswer | None = await handle.query(
                "view",
                result_type=RoutineAnswer,
                reject_condition=QueryRejectCondition.NOT_OPEN,
                rpc_timeout=QUERY_TIMEOUT,
            )
        except WorkflowQueryRejectedError:
            return None
        return answer


def _time(at: datetime) -> str:
    return format_timestamp(whole_second(at))
