"""Who asks, and in which conversation: the caller's context.

Owns how scope, route and creator are derived from what a caller gave. Where the values come from
(settings, environment, headers) is the surface's. Source: automation.md §10 and §13.
"""

from pydantic import BaseModel, ConfigDict

from domain.actor import Actor, preferred_id
from domain.errors import DomainError, ErrorKind
from domain.ownership import CHANNELS_WITHOUT_TARGET
from domain.routine_requests import Asker
from domain.scopes import Route, Scope, ScopeKind

GROUP_CHAT = "group"


class CallerContext(BaseModel):
    """What is known of a caller; blank means unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receive_id_type: str = ""
    receive_id: str = ""
    source_message_id: str = ""
    actor_user_id: str = ""
    actor_open_id: str = ""
    chat_type: str = ""
    session_key: str = ""
    resume_thread_id: str = ""

    def actor(self) -> Actor:
        """Who asks.

        Raises:
            DomainError: `missing_field` on `actor` when neither id is known.
        """
        actor = Actor(user_id=self.actor_user_id.strip(), open_id=self.actor_open_id.strip())
        if not preferred_id(actor):
            raise DomainError(
                ErrorKind.MISSING_FIELD,
                "actor",
                "actor is missing: give actor_user_id or actor_open_id in the context "
                "(TICKLESS_CONTEXT__ACTOR_USER_ID, or context.actor_user_id in the settings)",
                ["actor_user_id", "actor_open_id"],
            )
        return actor

    def route(self) -> Route:
        """Where messages go.

        Raises:
            DomainError: `missing_field` on `receive_id` where the channel needs a target.
        """
        channel, target = self.receive_id_type.strip(), self.receive_id.strip()
        if not channel or (not target and channel not in CHANNELS_WITHOUT_TARGET):
            raise DomainError(
                ErrorKind.MISSING_FIELD,
                "receive_id",
                "receive_id is missing: give receive_id_type and receive_id in the context "
                "(only console and file need no receive_id)",
                ["receive_id_type", "receive_id"],
            )
        return Route(receive_id_type=channel, receive_id=target)

    def scope(self) -> Scope:
        """Whose objects the caller sees: those of the group chat, else the user's own."""
        if self.chat_type.strip().lower() == GROUP_CHAT:
            return Scope(kind=ScopeKind.CHAT, id=self.route().text)
        return Scope(kind=ScopeKind.USER, id=preferred_id(self.actor()))

    def asker(self) -> Asker:
        """The caller as the routine's workflow checks it."""
        return Asker(actor_id=preferred_id(self.actor()), scope=self.scope())
