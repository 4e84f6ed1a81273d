"""A routine: its definition, its counters, its Schedule; lives until it is purged.

Owns the messages of the workflow and the order of its side effects. Every decision is
`domain.routine_book`'s. Lifecycle and invariants: docs/lifecycles/routine.md.
Source: DESIGN §3, automation.md §6.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.handlers import guarded, guarded_signal
from workflows.renewal import is_renewal_due, time_until
from workflows.telling import tell_alert, tell_lost
from workflows.ulids import new_ulid

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities import timeouts
    from activities.runs import RunActivities, RunIds, StartRunRequest
    from activities.schedules import ScheduleActivities
    from domain.admission import BeginRun, EndRun, MarkRun, RunEnded, Verdict
    from domain.errors import DomainError
    from domain.listeners import MEMO_KEY as TRIGGER_MEMO
    from domain.listeners import trigger_memo
    from domain.routine import PausedReason
    from domain.routine_book import RoutineBook
    from domain.routine_requests import (
        BackfillAnswer,
        BackfillRoutine,
        ChangeRoutine,
        CreateRoutine,
        DeleteRoutine,
        ListRuns,
        PatchRoutine,
        RoutineAnswer,
        RunAccepted,
        RunList,
        StartRoutine,
        TriggerRoutine,
    )
    from domain.routine_view import routine_details
    from domain.run_start import StartRun
    from domain.runs import (
        FireKind,
        manual_occurrence,
        run_id,
        run_workflow_id,
        scheduled_occurrence,
    )
    from domain.webhook_claim import MEMO as WEBHOOK_MEMO
    from domain.webhook_claim import WebhookClaim, webhook_claim

# Well within the shortest retention we set up a namespace with.
TOLD_BY_RUNS = timedelta(days=5)


@workflow.defn(name="Routine")
class RoutineWorkflow:
    """Workflow `routine/<id>`, one for each routine."""

    @workflow.init
    def __init__(self, start: StartRoutine) -> None:
        self._create_request = start.create
        self._refusal: DomainError | None = None
        self._book = RoutineBook(start.state) if start.state else None
        self._alarm: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._upgrade = False
        if self._book is None and start.create is not None:
            try:
                self._book = RoutineBook.create(start.create, workflow.info().start_time)
            except DomainError as error:
                self._refusal = error

    @workflow.run
    async def run(self, _start: StartRoutine) -> None:
        """Serve the routine until it is purged; a creation that was refused ends at once."""
        if self._book is None:
            await workflow.wait_condition(workflow.all_handlers_finished)
            if self._refusal is None:
                raise ApplicationError(
                    "started without a routine; use `tickless routine create`", non_retryable=True
                )
            return
        self._describe()
        self._publish_webhook(self._book)
        self._publish_trigger(self._book)
        self._arm()
        while not self._book.purged(workflow.now()):
            await self._wait_for_work(self._book)
            await self._put_schedule(self._book)
            await self._send_out(self._book)
            await self._check_leases(self._book)
            await self._tell(self._book)
            self._describe()
            if self._is_idle(self._book) and self._wants_renewal():
                await workflow.wait_condition(workflow.all_handlers_finished)
                # Something may have come in while the last handlers finished.
                if self._is_idle(self._book) and self._wants_renewal():
                    workflow.continue_as_new(StartRoutine(state=self._book.state))
        await workflow.wait_condition(workflow.all_handlers_finished)

    # Life

    @workflow.update
    @guarded
    async def create(self, request: CreateRoutine) -> RoutineAnswer:
        """Answer for the creation this workflow was started with, once its Schedule is put."""
        if self._refusal is not None:
            raise self._refusal
        book = self._ready()
        book.check_creation(request)
        return await self._settled(book)

    @workflow.update
    @guarded
    async def patch(self, request: PatchRoutine) -> RoutineAnswer:
        """Apply a JSON merge patch."""
        book = self._ready()
        book.change(request, request.changes, workflow.now())
        self._publish_webhook(book)
        self._publish_trigger(book)
        return await self._settled(book)

    @workflow.update
    @guarded
    async def delete(self, request: DeleteRoutine | None = None) -> RoutineAnswer:
        """Delete the routine; restorable for a while unless purged."""
        book = self._ready()
        book.delete(request or DeleteRoutine(), workflow.now())
        return await self._settled(book)

    @workflow.update(name="pause")
    @guarded
    async def pause_update(self, request: ChangeRoutine | None = None) -> RoutineAnswer:
        """Pause the routine; a run in flight finishes."""
        book = self._ready()
        book.change(request or ChangeRoutine(), {"status": "paused"}, workflow.now())
        return await self._settled(book)

    @workflow.signal(name="pause")
    @guarded_signal
    def pause_signal(self, request: ChangeRoutine | None = None) -> None:
        """The same for senders that need no answer."""
        change = request or ChangeRoutine()
        self._ready().change(change, {"status": "paused"}, workflow.now())

    @workflow.update(name="resume")
    @guarded
    async def resume_update(self, request: ChangeRoutine | None = None) -> RoutineAnswer:
        """Let the routine fire again."""
        book = self._ready()
        book.change(request or ChangeRoutine(), {"status": "active"}, workflow.now())
        return await self._settled(book)

    @workflow.signal(name="resume")
    @guarded_signal
    def resume_signal(self, request: ChangeRoutine | None = None) -> None:
        """The same for senders that need no answer."""
        change = request or ChangeRoutine()
        self._ready().change(change, {"status": "active"}, workflow.now())

    @workflow.update
    @guarded
    def backfill(self, request: BackfillRoutine) -> BackfillAnswer:
        """Make up for missed times, one run after the other."""
        return self._ready().backfill(request, workflow.now())

    @workflow.update(name="trigger")
    @guarded
    def trigger_update(self, request: TriggerRoutine | None = None) -> RunAccepted:
        """Start one extra run; its verdict is read from the run."""
        return self._trigger(request or TriggerRoutine())

    @workflow.signal(name="trigger")
    @guarded_signal
    def trigger_signal(self, request: TriggerRoutine | None = None) -> None:
        """The same for senders that need no answer."""
        self._trigger(request or TriggerRoutine())

    @workflow.signal
    @guarded_signal
    def upgrade(self) -> None:
        """Continue as new at the next quiet moment, on the newest code."""
        self._upgrade = True

    # Runs: these never await, so that checking and booking are one step (DESIGN §3 rule 4).

    @workflow.update
    @guarded
    def begin_run(self, request: BeginRun) -> Verdict:
        """Admit a run or refuse it."""
        verdict = self._ready().bookings.begin_run(request, workflow.now())
        self._arm()
        self._describe()
        return verdict

    @workflow.update
    @guarded
    def mark_run(self, request: MarkRun) -> RunEnded:
        """Count or un-count a run."""
        return self._ready().bookings.mark_run(request, workflow.now())

    @workflow.update
    @guarded
    def end_run(self, request: EndRun) -> RunEnded:
        """Record a run's outcome."""
        answer = self._ready().bookings.end_run(request, workflow.now())
        self._publish_due(answer.next_run_at)
        self._describe()
        return answer

    @workflow.query
    def view(self) -> RoutineAnswer | None:
        """The routine as it is now; null while it is being created."""
        return self._book.answer() if self._book else None

    @workflow.query
    def runs(self, request: ListRuns | None = None) -> RunList:
        """The runs that are open and the last hundred that ended, newest first."""
        limit = (request or ListRuns()).limit
        return RunList(runs=self._book.runs(limit) if self._book else [])

    @workflow.query
    def webhook(self) -> WebhookClaim | None:
        """What the memo `webhook` says, with secrets that are too long for it; none in clear."""
        return _webhook(self._book) if self._book else None

    # The loop

    async def _wait_for_work(self, book: RoutineBook) -> None:
        purge_at = book.state.purge_at
        timeout = None if purge_at is None else time_until(purge_at)
        try:
            await workflow.wait_condition(
                lambda: not self._is_idle(book) or self._wants_renewal(),
                timeout=timeout,
                timeout_summary="keep the deleted routine",
            )
        except TimeoutError:
            return

    def _is_idle(self, book: RoutineBook) -> bool:
        rang = self._alarm is not None and self._alarm.done()
        renew = self._renewal is not None and self._renewal.done()
        told = self._telling.done() if self._telling else book.has_to_tell()
        return not (rang or renew or told or book.has_work() or book.purged(workflow.now()))

    def _wants_renewal(self) -> bool:
        return self._telling is None and (self._upgrade or is_renewal_due())

    async def _put_schedule(self, book: RoutineBook) -> None:
        if self._renewal is not None and self._renewal.done():
            self._renewal = None
            book.renew_schedule()
        if not book.schedule_is_stale():
            return
        revision = book.state.schedule_revision
        # When its only time has passed a Schedule has nothing left to be paused: putting it again
        # costs the server as much as a fire, and one-shots often end together.
        ended = book.routine.paused_reason == PausedReason.SCHEDULE_ENDED
        if not (ended and workflow.patched("2026-11-21-ended-schedule-stays")):
            await workflow.execute_activity_method(
                ScheduleActivities.put_schedule,
                book.wanted_schedule(workflow.now()),
                start_to_close_timeout=timeouts.SCHEDULE_START_TO_CLOSE,
                retry_policy=timeouts.SCHEDULE_RETRY,
                summary="put the schedule",
            )
        book.schedule_put(revision)
        self._start_what_was_missed(book)
        self._plan_renewal(book)
        self._publish(book)

    def _publish(self, book: RoutineBook) -> None:
        """Write what the routine is found by: its status, and when it is due."""
        routine = book.routine
        updates: list[SearchAttributeUpdate[Any]] = [attributes.STATUS.value_set(routine.status)]
        if routine.next_run_at is None:
            updates.append(attributes.DUE.value_unset())
        else:
            # Not before now: a run that has ended would count as the one that is missed.
            due = max(routine.next_run_at, workflow.now())
            updates.append(attributes.DUE.value_set(due))
        updates.append(attributes.CHANGED.value_set(workflow.now()))
        workflow.upsert_search_attributes(updates)

    def _publish_webhook(self, book: RoutineBook) -> None:
        """Write where deliveries go and how they are signed; nothing where that is so already."""
        claim = _webhook(book)
        memo = claim.memo if claim else None
        if memo != workflow.memo_value(WEBHOOK_MEMO, None):
            workflow.upsert_memo({WEBHOOK_MEMO: memo})
            _tell_change()

    def _publish_trigger(self, book: RoutineBook) -> None:
        """Write what the routine listens for; nothing where that is so already."""
        trigger = book.routine.trigger
        memo = trigger_memo(trigger)
        if memo != workflow.memo_value(TRIGGER_MEMO, None):
            workflow.upsert_memo({TRIGGER_MEMO: memo})
            _tell_change()
        known = workflow.info().typed_search_attributes.get(attributes.TRIGGER)
        if known != trigger.type and workflow.patched("2026-11-21-trigger-follows-patch"):
            workflow.upsert_search_attributes([attributes.TRIGGER.value_set(trigger.type)])

    def _start_what_was_missed(self, book: RoutineBook) -> None:
        """A time that passed before the Schedule existed is started from here."""
        missed = book.missed_before_put(workflow.now())
        if missed is not None:
            routine = book.routine
            start = StartRun(routine_id=routine.id, kind=FireKind.SCHEDULE, scheduled_at=missed)
            book.request_start(run_id(routine.id, scheduled_occurrence(missed)), start)

    def _plan_renewal(self, book: RoutineBook) -> None:
        """Put the Schedule again after the zone's next change, when single instants run out."""
        due = book.renew_at(workflow.now())
        if self._renewal is not None:
            self._renewal.cancel()
        self._renewal = (
            None
            if due is None
            else asyncio.create_task(
                workflow.sleep(time_until(due), summary="the zone's next offset change")
            )
        )

    async def _send_out(self, book: RoutineBook) -> None:
        """Start, grant and cancel runs, as handlers have decided."""
        book.plan_backfill(workflow.now())
        for pending in book.take_starts():
            started = await workflow.execute_activity_method(
                RunActivities.start_run,
                StartRunRequest(
                    workflow_id=pending.workflow_id,
                    start=pending.start,
                    title=book.routine.title or book.routine.id,
                    scope=book.routine.scope.text,
                    owner=book.owner(),
                ),
                start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
                retry_policy=timeouts.ENTITY_RETRY,
                summary="start a run",
            )
            if started is False:
                book.already_started(pending)
        for granted in book.take_grants():
            if not await self._signal(granted, "granted"):
                book.bookings.lose(granted, workflow.now())
        for cancelled in book.take_cancellations():
            await self._signal(cancelled, "cancel")

    async def _signal(self, run: str, name: str) -> bool:
        """Signal a run; false when it no longer exists."""
        try:
            await workflow.get_external_workflow_handle(run_workflow_id(run)).signal(name)
        except ApplicationError:
            return False
        return True

    async def _check_leases(self, book: RoutineBook) -> None:
        """Look at the holders whose lease is over; a lease is a time to check, not to expire."""
        if self._alarm is None or not self._alarm.done():
            return
        self._alarm = None
        due = book.bookings.due_leases(workflow.now())
        if due:
            found = await workflow.execute_activity_method(
                RunActivities.find_closed,
                RunIds(ids=due),
                start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
                retry_policy=timeouts.ENTITY_RETRY,
                summary="look at runs whose lease is over",
            )
            for item in due:
                if item in found.ids:
                    book.bookings.lose(item, workflow.now())
                else:
                    book.bookings.extend(item, workflow.now())
        self._arm()

    async def _tell(self, book: RoutineBook) -> None:
        """Have lost runs recorded and alerts sent; who does so may take long, and is not awaited.

        What waits is in the state until it is told, so a crash or a new execution tells it again.
        """
        if self._telling is not None and self._telling.done():
            self._telling = None
        if self._telling is None and book.has_to_tell():
            self._telling = asyncio.create_task(self._tell_all(book))

    async def _tell_all(self, book: RoutineBook) -> None:
        try:
            for lost in list(book.state.lost):
                await tell_lost(lost)
                book.state.lost.remove(lost)
            for alert in list(book.state.alerts):
                await tell_alert(book.routine, alert)
                book.state.alerts.remove(alert)
        except ActivityError as error:
            # Only what cannot be done by trying again ends here; trying it again would never end.
            workflow.logger.error("could not be told: %s", error)
            book.state.lost.clear()
            book.state.alerts.clear()

    # Inside

    def _ready(self) -> RoutineBook:
        if self._book is None:
            raise ApplicationError("the routine was not created", type="not_found")
        return self._book

    async def _settled(self, book: RoutineBook) -> RoutineAnswer:
        """The answer to a change, once the Schedule is what the change made it."""
        await workflow.wait_condition(lambda: not book.schedule_is_stale())
        return book.answer()

    def _trigger(self, request: TriggerRoutine) -> RunAccepted:
        book = self._ready()
        book.check_trigger(request)
        occurrence = manual_occurrence("", None, new_ulid())
        run = run_id(book.routine.id, occurrence)
        start = StartRun(
            routine_id=book.routine.id,
            kind=FireKind.MANUAL,
            trigger_detail=request.actor_id or "operator",
            occurred_at=workflow.now(),
            force=request.force,
        )
        book.request_start(run, start)
        return RunAccepted(run_id=run, workflow_id=run_workflow_id(run))

    def _arm(self) -> None:
        """One timer for all leases, armed again only when it has fired (DESIGN §3 rule 7)."""
        due = self._book.bookings.next_lease() if self._book else None
        if due is not None and self._alarm is None:
            self._alarm = asyncio.create_task(
                workflow.sleep(time_until(due), summary="look at open runs")
            )

    def _publish_due(self, due: datetime | None) -> None:
        """Write a next time that outlasts the visibility of the run that would tell it.

        Nearer ones are told by the run's own last upsert, which saves the routine an event with
        every run (DESIGN §3 rules 13 and 15).
        """
        if due is not None and due - workflow.now() > TOLD_BY_RUNS:
            workflow.upsert_search_attributes([attributes.DUE.value_set(due)])

    def _describe(self) -> None:
        if self._book is not None:
            details = routine_details(self._book.state, workflow.info().namespace)
            workflow.set_current_details(details)


def _tell_change() -> None:
    """Have whoever keeps a list of routines look at this one."""
    if workflow.patched("2026-11-21-changes-are-listed"):
        workflow.upsert_search_attributes([attributes.CHANGED.value_set(workflow.now())])


def _webhook(book: RoutineBook) -> WebhookClaim | None:
    """What the routine claims, the path since when the memo says."""
    memo = workflow.memo_value(WEBHOOK_MEMO, None)
    former = WebhookClaim.model_validate(memo) if memo else None
    return webhook_claim(book.routine.id, book.routine.trigger, workflow.now(), former)
