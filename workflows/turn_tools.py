"""Which tools the turns of a session may call.

Owns asking for them, keeping the answer for a while, and on whose behalf they are called. How they
are called is `workflows.tool_rounds`', what is offered the dispatch's: a user attends, so
`attended_only` tools are there; what needs an approval is not, because only a job can wait for one.
Source: triggers-and-actions.md §7 and §8.

Invariants:
    1. What is kept is an offer, no permission: every call is checked again when it is made.
    2. Where nobody serves tools a user is answered all the same, without them.
    3. Of a message whose sender may not command no tool is called, also if it joined others or was
       dropped and is only summed up; nor of a heartbeat, which nobody attends.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows.cancellations import raise_if_cancelled
from workflows.model_calls import ModelCalls
from workflows.tool_rounds import ToolRounds

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.models import CallModel
    from activities.tools.dispatch import ToolActivities
    from activities.tools.requests import CallMode, OfferedTools, OfferTools
    from domain.chat_settings import SessionRules
    from domain.identifiers import TOOLS_QUEUE
    from domain.inbox_state import RunningTurn
    from domain.inbox_turns import is_commanded, may_use_tools
    from domain.session_requests import SessionState
    from domain.tool_specs import ToolCaller

NO_TOOLS: Final = "tools: no worker told which there are, so the answer was given without"
# Servers and sandboxes come and go; what is offered in vain is refused by the dispatch.
KEPT: Final = timedelta(minutes=5)
# How long turns do without, before one of them asks again.
AGAIN: Final = timedelta(minutes=1)

_CHANGE: Final = "2026-11-21-tools-in-turns"
_STRICTER: Final = "2026-11-21-tools-for-those-who-attend"


class TurnTools:
    """The tools of one session, as far as they are known.

    Attributes:
        warnings: What the turn that runs had to do without.
    """

    def __init__(self) -> None:
        self._offered: OfferedTools | None = None
        self._ask_at: datetime | None = None
        self.warnings: list[str] = []

    @property
    def shown(self) -> dict[str, object]:
        """What the session's view says of them."""
        if self._offered is None:
            return {}
        return {"tools": self._offered.names, "tools_removed": self._offered.removed}

    async def rounds(
        self,
        state: SessionState,
        turn: RunningTurn,
        calls: ModelCalls,
        show: Callable[[bool], None],
    ) -> ToolRounds | None:
        """The rounds of a turn; null when it uses no tools.

        Args:
            state: The session's.
            turn: The turn.
            calls: Its calls of models.
            show: Told when calls of tools begin and when they are over.
        """
        self.warnings = []
        rules = state.rules or SessionRules()
        if not rules.chat.tools or not _may_use_tools(turn) or not workflow.patched(_CHANGE):
            return None
        caller = _caller(state, turn)
        if self._ask_at is None or workflow.now() >= self._ask_at:
            await self._ask(caller)
        if self._offered is None:
            self.warnings = [NO_TOOLS]
            return None
        if not self._offered.names:
            return None
        return ToolRounds(
            calls,
            caller,
            rules.chat.max_tool_rounds,
            mode=CallMode.CHAT,
            show=show,
            offered=self._offered,
        )

    async def go_on(
        self, rounds: ToolRounds, turn: RunningTurn, request: CallModel, *, more: bool
    ) -> None:
        """Let rounds go on with what somebody has said meanwhile.

        Args:
            rounds: Those of the turn.
            turn: The turn, which has been joined.
            request: What is asked next.
            more: There were calls before, and it asks what was said since.
        """
        if more:
            await rounds.pass_over(request)
            rounds.heard = False
        if not _may_use_tools(turn):
            rounds.max_rounds = 0

    async def _ask(self, caller: ToolCaller) -> None:
        try:
            self._offered = await workflow.execute_activity_method(
                ToolActivities.offer_tools,
                OfferTools(mode=CallMode.CHAT, caller=caller),
                task_queue=TOOLS_QUEUE,
                schedule_to_close_timeout=timeouts.CHAT_OFFER_SCHEDULE_TO_CLOSE,
                retry_policy=timeouts.ENTITY_RETRY,
                summary="which tools are there?",
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            raise_if_cancelled()
            workflow.logger.warning("no tools are offered: %s", error.cause)
            self._offered = None
        self._ask_at = workflow.now() + (KEPT if self._offered else AGAIN)


def _may_use_tools(turn: RunningTurn) -> bool:
    if may_use_tools(turn):
        return True
    # Heartbeats, and what was dropped, once did not count.
    return is_commanded(turn) and not workflow.patched(_STRICTER)


def _caller(state: SessionState, turn: RunningTurn) -> ToolCaller:
    message = turn.about.message
    return ToolCaller(
        caller=f"channel:{message.route.receive_id_type}",
        user_id=message.sender_id,
        scope=state.inbox.scope or message.scope,
        route=message.route,
        turn_id=turn.turn_id,
        session_key=state.key,
        attended=True,
    )
