"""A routine that listens: what it waits for, in the little that its workflow's memo can hold.

Owns the trigger's form in the memo and the digest by which two triggers are the same. What matches
is `domain.trigger_matching`'s, finding many at once `domain.listener_index`'s.
Source: DESIGN §3, triggers-and-actions.md §2.

Invariants:
    1. A memo has at most `MAX_MEMO_BYTES`; a longer trigger is there as its digest, and read from
       the routine itself.
    2. Triggers with the same digest match the same.
"""

from dataclasses import dataclass
from typing import Annotated, Final, TypeGuard

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from domain.guardrails import canonical_json, content_hash
from domain.runs import FireKind
from domain.trigger_models import EventTrigger, SystemEventTrigger, TriggerType

MEMO_KEY: Final = "trigger"
MAX_MEMO_BYTES: Final = 300
LISTENING_TYPES: Final = (TriggerType.EVENT, TriggerType.SYSTEM_EVENT)
LISTENING_KINDS: Final = frozenset({FireKind.EVENT, FireKind.SYSTEM_EVENT})

_DIGEST_CHARS = 32

ListeningTrigger = EventTrigger | SystemEventTrigger


class LongTrigger(BaseModel):
    """What stands in the memo for a trigger that is too long for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    digest: str


_MEMO: TypeAdapter[ListeningTrigger] = TypeAdapter(
    Annotated[ListeningTrigger, Field(discriminator="type")]
)


@dataclass(frozen=True, slots=True)
class Listener:
    """An active routine with a trigger that events or messages fire.

    `scope` and `owner` are texts as its search attributes have them.
    """

    routine_id: str
    scope: str
    owner: str
    trigger: ListeningTrigger
    digest: str


def listens(trigger: object) -> TypeGuard[ListeningTrigger]:
    """Whether a trigger is one that events or messages fire."""
    return isinstance(trigger, EventTrigger | SystemEventTrigger)


def trigger_digest(trigger: ListeningTrigger) -> str:
    """What a trigger is known by."""
    return content_hash(trigger.model_dump(mode="json"))[:_DIGEST_CHARS]


def still_listens(trigger: object, digest: str) -> bool:
    """Whether a routine's present trigger is the one that was matched."""
    return listens(trigger) and trigger_digest(trigger) == digest


def trigger_memo(trigger: object) -> dict[str, object] | None:
    """The memo of a routine with this trigger; null when it does not listen."""
    if not listens(trigger):
        return None
    whole = trigger.model_dump(mode="json", exclude_none=True)
    if len(canonical_json(whole)) <= MAX_MEMO_BYTES:
        return whole
    return LongTrigger(type=trigger.type, digest=trigger_digest(trigger)).model_dump()


def read_memo(memo: object) -> ListeningTrigger | LongTrigger | None:
    """The trigger in a memo, or what stands for it; null for anything else."""
    for model in (_MEMO.validate_python, LongTrigger.model_validate):
        try:
            return model(memo)
        except ValidationError:
            continue
    return None
