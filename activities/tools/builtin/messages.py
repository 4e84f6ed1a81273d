"""The tool `message_send`: a text for a person, on the caller's own route or on another one.

Owns which call of it asks. Sending is the messenger's, as for every text.
Source: triggers-and-actions.md §7 and §9.

Invariants:
    1. What goes anywhere but where the caller's own texts go asks a person first.
    2. A repeated call sends nothing again: the text is in the outbox before it is sent, under the
       call's key.
    3. A route whose channel does not exist is refused, not sent elsewhere.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from activities.delivery_steps import DeliverySteps, never_repeated
from activities.emitting import Emitter, tell_or_log
from activities.messenger import Messenger
from activities.tools.builtin.schemas import arguments, text
from activities.tools.tool import ToolFailed, ToolUse
from domain.deliveries import DeliveryStatus, Part
from domain.delivery_events import event_of_unknown
from domain.scopes import Route
from domain.tool_specs import Permission, ToolCaller, ToolSpec

if TYPE_CHECKING:
    from activities.store import Store

MAX_TEXT_CHARS: Final = 16_000
PREFIX: Final = "tool/"

_SPEC: Final = ToolSpec(
    name="message_send",
    description="Send a message to a person now. Without channel it goes where your answers go. "
    "Another channel or target needs an approval.",
    parameters=arguments(
        {
            "text": text("The message.", longest=MAX_TEXT_CHARS),
            "channel": text("Name of a channel.", longest=200),
            "target": text("Whom the channel is to reach.", longest=512),
        },
        ["text"],
    ),
    permission=Permission.ALLOW,
    idempotent=True,
    timeout_seconds=30,
)


class MessageSend:
    """The tool."""

    spec = _SPEC

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        channels: Collection[str],
        emitter: Emitter | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            channels: The names it knows.
            emitter: Hears of texts whose fate nobody knows; null where nobody listens.
        """
        self._store = store
        self._messenger = messenger
        self._channels = sorted(channels)
        self._emitter = emitter

    def permission_of(self, arguments: Mapping[str, Any], caller: ToolCaller) -> Permission:
        """`allow` on the caller's own route."""
        route = _route(arguments, caller)
        return Permission.ALLOW if route == caller.route else Permission.ASK

    async def run(self, use: ToolUse) -> str:
        """Send it, once."""
        route = _route(use.arguments, use.caller)
        if route is None:
            raise ToolFailed("there is no route of your own here; give channel and target")
        if route != use.caller.route and route.receive_id_type not in self._channels:
            raise ToolFailed(
                f"there is no channel {route.receive_id_type!r}; channels: "
                f"{', '.join(self._channels)}"
            )
        part = Part(part="message", route=route, text=str(use.arguments["text"]))
        row = self._messenger.row(part, None, f"{PREFIX}{use.key}", scope=use.caller.scope.text)
        steps = DeliverySteps([row], never_repeated)
        begun = await self._store.write(steps.enqueue)
        if begun is not None:
            await self._store.write(steps.go_on, await self._messenger.send_once(begun))
        await self._tell(steps, use.caller)
        return _outcome(steps)

    async def _tell(self, steps: DeliverySteps, caller: ToolCaller) -> None:
        for row in steps.unknown:
            event = event_of_unknown(row, routine_id=caller.routine_id, hop=caller.hop)
            if self._emitter is not None and event is not None:
                await tell_or_log(self._emitter, [event], caller.scope.text)


def _route(given: Mapping[str, Any], caller: ToolCaller) -> Route | None:
    channel, target = given.get("channel"), given.get("target")
    if channel is None and target is None:
        return caller.route
    if channel is None:
        # A target alone is on the caller's own channel.
        return caller.route and Route(
            receive_id_type=caller.route.receive_id_type, receive_id=str(target)
        )
    return Route(receive_id_type=str(channel).strip(), receive_id=str(target or "").strip())


def _outcome(steps: DeliverySteps) -> str:
    (row,) = steps.rows
    if row.status == DeliveryStatus.SENT:
        return f"sent to {row.route.text}"
    if row.status == DeliveryStatus.FAILED:
        raise ToolFailed(f"the message was not sent: {row.error}")
    raise ToolFailed(
        f"nobody knows whether the message to {row.route.text} has arrived; it is not sent again "
        "by itself"
    )
