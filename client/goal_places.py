"""Whose goal a caller means: its scope, its workflow, the conversation it is worked on in.

Owns how a caller's context becomes those. Source: automation.md §9 (Create) and §10.

Invariants:
    1. One goal per user, and per thread of a group chat; the plain chat counts as a thread.
    2. A caller reaches the goals of its own chat only: a session key of another chat is refused.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict

from client.context import CallerContext
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.goal_messages import goal_workflow_id
from domain.scopes import Scope, ScopeKind
from domain.session import gate_key, visibility_key
from domain.session_bodies import read_session_key

# A workflow id may have 1,000 bytes.
MAX_ID_BYTES: Final = 512


class GoalPlace(BaseModel):
    """Where a caller's goal lives.

    Attributes:
        scope: Of the goal: the user, or one thread of a chat.
        work_scope: Whose workspace and routines it sees: the user, or the whole chat.
        session_key: The conversation it is worked on in; blank: one of its own.
    """

    model_config = ConfigDict(frozen=True)

    scope: Scope
    work_scope: Scope
    session_key: str = ""

    @property
    def workflow_id(self) -> str:
        """The goal's workflow."""
        return goal_workflow_id(self.scope)


def goal_place(context: CallerContext) -> GoalPlace:
    """The place of a caller's goal.

    Raises:
        DomainError: `missing_field` on `actor` or `receive_id`; `invalid_field` on `session_key`
            for that of another chat.
    """
    context.actor()
    work_scope = context.scope()
    given = context.session_key.strip()
    key = gate_key(read_session_key(given)) if given else ""
    if work_scope.kind is ScopeKind.USER:
        if len(work_scope.id.encode()) > MAX_ID_BYTES:
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "actor",
                f"actor must have at most {MAX_ID_BYTES} bytes to have a goal",
            )
        return GoalPlace(scope=work_scope, work_scope=work_scope, session_key=key)
    key = key or gate_key(read_session_key(work_scope.id))
    if visibility_key(key) != work_scope.id:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "session_key",
            f"session_key {shown(key)} names another chat than {shown(work_scope.id)}, which "
            "receive_id_type and receive_id say",
        )
    return GoalPlace(
        scope=Scope(kind=ScopeKind.CHAT, id=key), work_scope=work_scope, session_key=key
    )
