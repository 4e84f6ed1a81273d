"""The activities of a goal: writing down what it has to say, and finding its conversation.

Owns the order: first the ledger, in one transaction, then the notices, then the events; and filling
in the prompt of a round, because the templates are the worker's settings. What is said is
`domain.goal_notices'` and `domain.goal_events`'. Source: automation.md §9 (Prompts, Notices).

Invariants:
    1. Everything here may be repeated: texts are in the outbox before they are sent, under
       `<goal id>/<part>`, events have ids of their own.
    2. A notice gets one attempt and never holds up a goal.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import AwareDatetime, BaseModel
from temporalio import activity

from activities.deliveries import BEAT, Delivering
from activities.delivery_steps import DeliverySteps, never_repeated
from activities.emitting import Emitter, tell_or_retry
from activities.heartbeats import beating
from activities.messenger import Messenger
from domain.deliveries import Delivery, Part
from domain.emissions import EmittedEvent
from domain.goal_prompts import CONTINUE_TEMPLATE, TIMEOUT_TEMPLATE, goal_prompt
from domain.goal_record import Goal
from domain.goal_state import GoalNotice
from domain.scopes import Route, Scope
from domain.session_requests import session_thread_id

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Store


class GoalRound(StrEnum):
    """Which prompt is wanted."""

    CONTINUE = "continue"
    TIMEOUT = "timeout"


class PutGoal(BaseModel):
    """What is to be told of a goal.

    Attributes:
        goal_id: The goal.
        route: Where the notices go.
        scope: Who may see the notices and hears the events, in text form.
        notices: Texts that get one attempt.
        events: Told in the scope.
    """

    goal_id: str
    route: Route
    scope: str
    notices: list[GoalNotice] = []
    events: list[EmittedEvent] = []


class AskRoundPrompt(BaseModel):
    """The round that begins, of a goal as it stands; `now` is its clock, in `timezone` shown."""

    goal: Goal
    round: GoalRound
    timezone: str = "UTC"
    now: AwareDatetime


class RoundPrompt(BaseModel):
    """What the round's job is told."""

    text: str


class FindThread(BaseModel):
    """Which thread a conversation has, if it has one."""

    session_key: str
    scope: Scope


class ThreadFound(BaseModel):
    """The thread; null where nobody has spoken in that conversation yet."""

    thread_id: str | None = None


class GoalActivities:
    """Tells of goals and finds their threads."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        emitter: Emitter,
        *,
        continue_template: str = CONTINUE_TEMPLATE,
        timeout_template: str = TIMEOUT_TEMPLATE,
        start_notices: bool = True,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            emitter: Tells the events.
            continue_template: Setting `goal_prompt_continue`.
            timeout_template: Setting `goal_prompt_timeout`.
            start_notices: Setting of the same name: whether a round says that it begins.
        """
        self._store = store
        self._messenger = messenger
        self._emitter = emitter
        self._templates = {
            GoalRound.CONTINUE: continue_template,
            GoalRound.TIMEOUT: timeout_template,
        }
        self._start_notices = start_notices

    @activity.defn
    async def put_goal(self, request: PutGoal) -> None:
        """Write the goal's texts, send them, tell the events.

        Raises:
            ApplicationError: `store_failed` from the store; `entity_silent` when nobody could be
                told.
        """
        told = [item for item in request.notices if self._start_notices or not item.is_start]
        steps = DeliverySteps([self._row(request, item) for item in told], never_repeated)
        current = Delivering()
        with beating(lambda: current, BEAT):
            row = await self._store.write(steps.enqueue)
            while row is not None:
                current = Delivering(occurrence_id=row.occurrence_id)
                sent = await self._messenger.send_once(row)
                row = await self._store.write(steps.go_on, sent)
            await tell_or_retry(self._emitter, request.events, request.scope)

    @activity.defn
    async def round_prompt(self, request: AskRoundPrompt) -> RoundPrompt:
        """Fill in the worker's template; does nothing else, so it is called as a local activity."""
        template = self._templates[request.round]
        return RoundPrompt(text=goal_prompt(template, request.goal, request.now, request.timezone))

    @activity.defn
    async def find_thread(self, request: FindThread) -> ThreadFound:
        """Look whether a conversation has a thread.

        Raises:
            ApplicationError: `store_failed` from the store.
        """
        wanted = session_thread_id(request.scope, request.session_key)
        found = await self._store.threads.get(wanted)
        return ThreadFound(thread_id=found.id if found else None)

    def _row(self, request: PutGoal, notice: GoalNotice) -> Delivery:
        part = Part(part=notice.part, route=request.route, text=notice.text)
        id = f"{request.goal_id}/{notice.part}"
        return self._messenger.row(part, None, id, scope=request.scope)
