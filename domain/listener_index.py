"""Which of many listeners a message or an event fires.

Owns finding them without asking each: by scope, channel, source, type and first filter; then the
one test that decides is `domain.trigger_matching`'s. Source: triggers-and-actions.md §2.

Invariants:
    1. What it finds is what testing every listener would find.
    2. A listener is in it once, by its routine's id.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from domain.listeners import Listener
from domain.pattern_set import PatternSet
from domain.trigger_matching import (
    MAX_TEXT_BYTES,
    EventMatch,
    EventMismatch,
    IncomingMessage,
    SystemEvent,
    SystemEventMatch,
    match_event,
    match_system_event,
    render_scalar,
)
from domain.trigger_models import EventTrigger, SystemEventTrigger

_ById = dict[str, Listener]


@dataclass(slots=True)
class _Patterns:
    """The listeners of one scope and channel, by pattern."""

    patterns: PatternSet = field(default_factory=PatternSet)
    listeners: dict[str, _ById] = field(default_factory=dict[str, _ById])


@dataclass(slots=True)
class _Filters:
    """The listeners of one scope, source and type, by their first filter."""

    unfiltered: _ById = field(default_factory=_ById)
    by_filter: dict[str, dict[str, _ById]] = field(default_factory=dict[str, dict[str, _ById]])


class ListenerIndex:
    """Listeners that come and go, found by what they wait for."""

    def __init__(self, listeners: Iterable[Listener] = ()) -> None:
        self._listeners: _ById = {}
        self._messages: dict[tuple[str, str], _Patterns] = {}
        self._events: dict[tuple[str, str, str], _Filters] = {}
        self._scopes: dict[str, int] = {}
        for listener in listeners:
            self.put(listener)

    def __len__(self) -> int:
        return len(self._listeners)

    def __iter__(self) -> Iterator[Listener]:
        return iter(self._listeners.values())

    def get(self, routine_id: str) -> Listener | None:
        """The listener of a routine."""
        return self._listeners.get(routine_id)

    def put(self, listener: Listener) -> None:
        """Put a listener in, in place of what its routine listened for before."""
        if self._listeners.get(listener.routine_id) == listener:
            return
        self.drop(listener.routine_id)
        self._listeners[listener.routine_id] = listener
        self._scopes[listener.scope] = self._scopes.get(listener.scope, 0) + 1
        if isinstance(listener.trigger, EventTrigger):
            place = self._messages.setdefault(
                (listener.scope, _folded(listener.trigger.channel)), _Patterns()
            )
            pattern = listener.trigger.pattern
            place.patterns.add(pattern)
            place.listeners.setdefault(pattern, {})[listener.routine_id] = listener
        else:
            place_of = self._events.setdefault(_event_key(listener), _Filters())
            _same_filter(place_of, listener.trigger)[listener.routine_id] = listener

    def drop(self, routine_id: str) -> None:
        """Take a routine's listener out if it is there."""
        listener = self._listeners.pop(routine_id, None)
        if listener is None:
            return
        self._scopes[listener.scope] -= 1
        if not self._scopes[listener.scope]:
            del self._scopes[listener.scope]
        if isinstance(listener.trigger, EventTrigger):
            place = self._messages[listener.scope, _folded(listener.trigger.channel)]
            same = place.listeners[listener.trigger.pattern]
            del same[routine_id]
            if not same:
                del place.listeners[listener.trigger.pattern]
                place.patterns.discard(listener.trigger.pattern)
        else:
            del _same_filter(self._events[_event_key(listener)], listener.trigger)[routine_id]

    def of_message(
        self,
        message: IncomingMessage,
        scopes: Collection[str],
        self_ids: Collection[str] = (),
    ) -> list[tuple[Listener, EventMatch]]:
        """The listeners of some scopes that a message fires, with their matches."""
        text = message.text.encode()
        if len(text) > MAX_TEXT_BYTES:
            text = text[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()
        found: list[tuple[Listener, EventMatch]] = []
        channels = dict.fromkeys(("", _folded(message.channel)))
        for key in ((scope, channel) for scope in dict.fromkeys(scopes) for channel in channels):
            place = self._messages.get(key)
            if place is None:
                continue
            for pattern in place.patterns.matching(text):
                for listener in place.listeners[pattern].values():
                    assert isinstance(listener.trigger, EventTrigger)
                    match = match_event(listener.trigger, message, self_ids)
                    if match.matched:
                        found.append((listener, match))
        return found

    def of_event(
        self, event: SystemEvent, scopes: Collection[str] | None
    ) -> list[tuple[Listener, SystemEventMatch]]:
        """The listeners that an event fires, or would fire but for its hop.

        Args:
            event: The event.
            scopes: Whose listeners; null is everybody's.
        """
        found: list[tuple[Listener, SystemEventMatch]] = []
        wanted = self._scopes if scopes is None else dict.fromkeys(scopes)
        for scope in wanted:
            for listener in self._possible(event, scope):
                assert isinstance(listener.trigger, SystemEventTrigger)
                match = match_system_event(listener.trigger, event)
                if match.matched or match.reason == EventMismatch.HOP_LIMIT:
                    found.append((listener, match))
        return found

    def _possible(self, event: SystemEvent, scope: str) -> Iterator[Listener]:
        payload = event.payload or {}
        for event_type in dict.fromkeys(_types(event.event_type)):
            place = self._events.get((scope, event.source, event_type))
            if place is None:
                continue
            yield from place.unfiltered.values()
            for key, by_value in place.by_filter.items():
                value = render_scalar(payload.get(key))
                if value is not None:
                    yield from by_value.get(value, {}).values()


def _types(event_type: str) -> Iterator[str]:
    """The types of triggers that an event's type may match: itself, and each prefix and `.*`."""
    yield event_type
    for place, character in enumerate(event_type[:-1]):
        if character == ".":
            yield event_type[: place + 1] + "*"


def _event_key(listener: Listener) -> tuple[str, str, str]:
    assert isinstance(listener.trigger, SystemEventTrigger)
    return listener.scope, listener.trigger.source, listener.trigger.event_type


def _same_filter(place: _Filters, trigger: SystemEventTrigger) -> _ById:
    for key, value in trigger.filters.items():
        return place.by_filter.setdefault(key, {}).setdefault(value, {})
    return place.unfiltered


def _folded(channel: str | None) -> str:
    return (channel or "").strip().lower()
