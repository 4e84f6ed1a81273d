"""The big red button: everything is paused, or it is not.

Owns a flag, a reason and since when, kept in the workflow's memo where they are read without a
worker. Nothing is fanned out on pause, so nothing has to be restored; `resume_all` wakes those that
parked.
Source: DESIGN §3 rule 14, triggers-and-actions.md §4 (System pause).
"""

from pydantic import BaseModel
from temporalio import workflow

from workflows.handlers import guarded

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities import timeouts
    from activities.control import MEMO_PAUSED, MEMO_REASON, MEMO_SINCE, SystemPause
    from activities.waking import WakingActivities
    from domain.errors import DomainError, ErrorKind
    from domain.redaction import REASON_CHARS, redact_reason
    from domain.timestamps import format_timestamp


class PauseAll(BaseModel):
    """Body of `pause_all`."""

    reason: str = ""


@workflow.defn(name="Control")
class Control:
    """Workflow `control`; it never ends, and continues as new only when it must."""

    @workflow.init
    def __init__(self, pause: SystemPause) -> None:
        self._pause = pause
        self._wake = False

    @workflow.run
    async def run(self, _pause: SystemPause) -> None:
        """Serve the button for ever."""
        workflow.upsert_search_attributes([attributes.KIND.value_set("control")])
        self._publish()
        while True:
            await workflow.wait_condition(
                lambda: self._wake or workflow.info().is_continue_as_new_suggested()
            )
            if self._wake:
                self._wake = False
                await workflow.execute_activity_method(
                    WakingActivities.wake_parked,
                    start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
                    retry_policy=timeouts.ENTITY_RETRY,
                    summary="wake what parked",
                )
                continue
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(self._pause)

    @workflow.update
    @guarded
    def pause_all(self, request: PauseAll | None = None) -> SystemPause:
        """Pause everything; a second time only changes the reason."""
        reason = (request or PauseAll()).reason.strip()
        if len(reason) > REASON_CHARS:
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "reason",
                f"reason must have at most {REASON_CHARS} characters, not {len(reason)}",
            )
        since = self._pause.since or format_timestamp(workflow.now())
        self._pause = SystemPause(paused=True, reason=redact_reason(reason), since=since)
        self._publish()
        return self._pause

    @workflow.update
    @guarded
    def resume_all(self) -> SystemPause:
        """Let everything go on."""
        self._wake = self._wake or self._pause.paused
        self._pause = SystemPause()
        self._publish()
        return self._pause

    @workflow.query
    def view(self) -> SystemPause:
        """Whether everything is paused, why and since when."""
        return self._pause

    def _publish(self) -> None:
        pause = self._pause
        workflow.upsert_memo(
            {MEMO_PAUSED: pause.paused, MEMO_REASON: pause.reason, MEMO_SINCE: pause.since}
        )
        workflow.set_current_details(
            f"**Everything is paused** since {pause.since}: {pause.reason or 'no reason given'}"
            if pause.paused
            else "Everything is running."
        )
