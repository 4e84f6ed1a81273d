"""What the ledger is told of a session's messages: how they ended, and texts that have to wait.

Owns when that is written, beside all else, and how much at once. How a message ends is
`domain.inbox`'s; what ends with a turn is written with it (`workflows.turns`).
Source: chat-policies.md §3, DESIGN §3 rule 10.
"""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.turns import RecordMessages, TurnActivities
    from domain.identifiers import RUNS_QUEUE
    from domain.inbound_records import InboundRecord, MessageFate
    from domain.inbox_turns import mark_kept, rows_to_keep
    from domain.session_requests import SessionState

# Rows in one activity's argument, and how many wait for the end of a turn to be written with it.
ROWS_AT_ONCE = 100
ROWS_BYTES_AT_ONCE = 262_144
ROWS_UNWRITTEN = 50
TRY_AGAIN = timedelta(minutes=1)


class SessionBooks:
    """The books of one session.

    Attributes:
        is_writing: Something is being written.
    """

    def __init__(self, state: SessionState, renews: Callable[[], bool]) -> None:
        """Begin with what is in the state.

        Args:
            state: The session's, changed in place.
            renews: Whether the session is about to continue as new: what waits then is kept.
        """
        self._state = state
        self._renews = renews
        self.is_writing = False

    async def keep(self) -> None:
        """Write what there is to write, until the task is cancelled."""
        while True:
            await workflow.wait_condition(lambda: bool(self._to_write()))
            self.is_writing = True
            rows = self._to_write()
            try:
                await workflow.execute_activity_method(
                    TurnActivities.record_messages,
                    RecordMessages(rows=rows),
                    task_queue=RUNS_QUEUE,
                    start_to_close_timeout=timeouts.LEDGER_START_TO_CLOSE,
                    retry_policy=timeouts.ENTITY_RETRY,
                    summary="record messages",
                )
            except ActivityError as error:
                # What is worth a retry was retried; a person has to look, and nothing is lost.
                workflow.logger.error("messages were not recorded: %s", error)
                await workflow.sleep(TRY_AGAIN, summary="messages were not recorded")
                continue
            inbox, written = self._state.inbox, {id(row) for row in rows}
            inbox.settled = [row for row in inbox.settled if id(row) not in written]
            mark_kept(inbox, [row for row in rows if row.status == MessageFate.WAITING])
            self.is_writing = False

    def _to_write(self) -> list[InboundRecord]:
        """The rows to write now; what can be written with the end of a turn waits for it."""
        inbox = self._state.inbox
        if inbox.settled and (inbox.turn is None or len(inbox.settled) >= ROWS_UNWRITTEN):
            weight, rows = 0, list[InboundRecord]()
            for row in inbox.settled[:ROWS_AT_ONCE]:
                weight += row.weight
                if rows and weight > ROWS_BYTES_AT_ONCE:
                    break
                rows.append(row)
            return rows
        if inbox.turn is None and self._renews():
            return rows_to_keep(inbox, self._state.key)
        return []
