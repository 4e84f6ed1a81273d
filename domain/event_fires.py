"""What a matched message or event starts: the run, its id, and the texts for its prompt.

Owns the occurrence of such a run, its detail for the records, the hash by which its content is
known, and what of it goes into the prompt as untrusted text. What matches is
`domain.trigger_matching`'s. Source: triggers-and-actions.md §2, §4, §10.

Invariants:
    1. The same message or event starts the same run of a routine, whoever hands it in again.
    2. The texts for the prompt have at most `MAX_UNTRUSTED_BYTES` in all; what is cut says so.
"""

import json
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.emissions import EmittedEvent, ReceivedMessage
from domain.guardrails import canonical_json, content_hash
from domain.listeners import Listener
from domain.prompts import UntrustedText
from domain.run_start import StartRun
from domain.runs import FireKind, hex32, run_id
from domain.trigger_matching import EventMatch

MAX_DETAIL_CHARS: Final = 200
MAX_UNTRUSTED_BYTES: Final = 65_536
# Of what matched: a text longer than that is in the message itself.
MAX_PIECE_CHARS: Final = 200
MAX_PIECES: Final = 20
# Room for the line that tells of a cut.
_CUT_BYTES: Final = 64


class EventFire(BaseModel):
    """A run that is to be started."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    start: StartRun


def message_occurrence(channel: str, message_id: str) -> str:
    """`e-<32 hex>` of a message."""
    return "e-" + hex32(f"message\n{channel.strip().lower()}\n{message_id}")


def event_occurrence(source: str, event_id: str) -> str:
    """`e-<32 hex>` of an event."""
    return "e-" + hex32(f"event\n{source}\n{event_id}")


def message_fire(
    listener: Listener, message: ReceivedMessage, match: EventMatch, now: datetime
) -> EventFire:
    """The run that a message starts in a routine it has matched."""
    return EventFire(
        run_id=run_id(listener.routine_id, message_occurrence(message.channel, message.id)),
        start=StartRun(
            routine_id=listener.routine_id,
            kind=FireKind.EVENT,
            trigger_detail=_one_line(message.text),
            trigger_digest=listener.digest,
            occurred_at=now,
            content_hash=content_hash(message.text),
            untrusted=_message_texts(message, match),
        ),
    )


def event_fire(listener: Listener, event: EmittedEvent, now: datetime) -> EventFire:
    """The run that an event starts in a routine it has matched."""
    name = f"{event.source}:{event.event_type}"
    return EventFire(
        run_id=run_id(listener.routine_id, event_occurrence(event.source, event.id)),
        start=StartRun(
            routine_id=listener.routine_id,
            kind=FireKind.SYSTEM_EVENT,
            trigger_detail=name[:MAX_DETAIL_CHARS],
            trigger_digest=listener.digest,
            occurred_at=now,
            content_hash=content_hash(event.payload),
            hop=event.hop,
            untrusted=[UntrustedText(source=f"event {name}", text=_payload_text(event.payload))],
        ),
    )


def _message_texts(message: ReceivedMessage, match: EventMatch) -> list[UntrustedText]:
    facts: dict[str, object] = {
        "channel": message.channel,
        "author": message.author_name or message.author_id,
        "matched_text": _piece(match.matched_text),
        "groups": [_piece(group) for group in match.groups[:MAX_PIECES]],
        "named_groups": {
            name: _piece(group) for name, group in list(match.named_groups.items())[:MAX_PIECES]
        },
    }
    if match.truncated:
        facts["truncated"] = True
    told = json.dumps(facts, ensure_ascii=False, indent=2)
    room = MAX_UNTRUSTED_BYTES - len(told.encode())
    return [
        UntrustedText(source="what the message matched", text=told),
        UntrustedText(source="message", text=_cut(message.text, room)),
    ]


def _payload_text(payload: dict[str, object]) -> str:
    pretty = json.dumps(payload, ensure_ascii=False, indent=2)
    if len(pretty.encode()) <= MAX_UNTRUSTED_BYTES:
        return pretty
    # At most as long as the payload may be, but hard to read.
    return canonical_json(payload).decode()


def _piece(text: str | None) -> str | None:
    if text is None or len(text) <= MAX_PIECE_CHARS:
        return text
    return text[: MAX_PIECE_CHARS - 1] + "…"


def _one_line(text: str) -> str:
    """The beginning of a text for a list of runs."""
    line = " ".join(text[: MAX_DETAIL_CHARS * 4].split())
    return line if len(line) <= MAX_DETAIL_CHARS else line[: MAX_DETAIL_CHARS - 1] + "…"


def _cut(text: str, limit_bytes: int) -> str:
    data = text.encode()
    if len(data) <= limit_bytes:
        return text
    kept = data[: limit_bytes - _CUT_BYTES].decode("utf-8", "ignore")
    return f"{kept}\n[{len(data) - len(kept.encode())} bytes left out]"
