"""The limits a routine sets to its own runs, and what makes two fires the same.

Owns the guardrails, their defaults and validation, and the hash of a content. The decision made
with them is in `domain.admission_rules` and offered here too. Source: triggers-and-actions.md §4.

Invariant: validated guardrails have every key; null is "no limit" or "the deployment's setting".
"""

import hashlib
import json

from domain.admission_facts import (
    AdmissionDecision,
    AdmissionRoutine,
    AdmissionState,
    Fire,
    Reason,
    RecentHash,
    RoutineFacts,
)
from domain.admission_rules import decide_admission, recheck_admission
from domain.budget import format_usd, parse_usd
from domain.fields import FieldReader, is_unicode, shown
from domain.guardrail_models import Guardrails, Overlap, RateLimit
from domain.trigger_models import PUSHED_TYPES, TriggerType

__all__ = [
    "AdmissionDecision",
    "AdmissionRoutine",
    "AdmissionState",
    "Fire",
    "Guardrails",
    "Overlap",
    "RateLimit",
    "Reason",
    "RecentHash",
    "RoutineFacts",
    "content_hash",
    "decide_admission",
    "recheck_admission",
    "validate_guardrails",
]

MAX_SECONDS = 31_536_000
MAX_CONCURRENT = 10
MAX_WINDOW_SECONDS = 604_800
MAX_RATE_RUNS = 10_000
MAX_RATE_WINDOW_SECONDS = 2_678_400
MAX_RUN_TIMEOUT_SECONDS = 86_400
MAX_TOOL_CALLS = 10_000
# Outside events come in bursts; a clock does not.
PUSHED_COOLDOWN_SECONDS = 300


def validate_guardrails(guardrails: object, trigger_type: TriggerType) -> Guardrails:
    """Check guardrails and fill in their defaults.

    Args:
        guardrails: The JSON object as it was given; null is an empty one.
        trigger_type: Type of the routine's trigger: pushed triggers have other defaults.

    Returns:
        Guardrails with every key; `max_cost_usd` as the shortest decimal text.

    Raises:
        DomainError: The first problem on `guardrails.…`. Whether the tools of `allowed_tools`
            exist is the registry's to say.
    """
    reader = FieldReader.of({} if guardrails is None else guardrails, "guardrails")
    pushed = trigger_type in PUSHED_TYPES
    reader.refuse_unknown(tuple(Guardrails.model_fields))
    fields = {
        "cooldown_seconds": reader.integer(
            "cooldown_seconds", 0, MAX_SECONDS, PUSHED_COOLDOWN_SECONDS if pushed else 0
        ),
        "max_concurrent": reader.integer("max_concurrent", 1, MAX_CONCURRENT, 1),
        "overlap": reader.choice(
            "overlap", list(Overlap), Overlap.SKIP if pushed else Overlap.QUEUE_ONE
        ),
        "dedup_window_seconds": reader.optional_integer(
            "dedup_window_seconds", 1, MAX_WINDOW_SECONDS
        ),
        "max_age_seconds": reader.optional_integer("max_age_seconds", 1, MAX_WINDOW_SECONDS),
        "rate_limit": _read_rate_limit(reader),
        "run_timeout_seconds": reader.optional_integer(
            "run_timeout_seconds", 1, MAX_RUN_TIMEOUT_SECONDS
        ),
        "max_tokens_total": reader.optional_integer("max_tokens_total", 1),
        "max_tool_calls": reader.optional_integer("max_tool_calls", 0, MAX_TOOL_CALLS),
        "allowed_tools": _read_tools(reader),
        "max_cost_usd": _read_cost(reader),
    }
    reader.close()
    return Guardrails.model_validate(fields)


def content_hash(payload: object) -> str:
    """The sha256, in hex, of a content's canonical JSON.

    Args:
        payload: The text of a message, the payload of an event, or the body of a delivery. Bytes
            are the text they spell, so a body hashes the same in either form.
    """
    content = payload.decode("utf-8", "surrogateescape") if isinstance(payload, bytes) else payload
    return hashlib.sha256(canonical_json(content)).hexdigest()


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no blanks, in UTF-8: equal for equal values."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


def _read_rate_limit(outer: FieldReader) -> RateLimit | None:
    if not outer.given("rate_limit"):
        return None
    return outer.check(lambda: _rate_limit(outer.raw("rate_limit"), outer.field("rate_limit")))


def _rate_limit(value: object, path: str) -> RateLimit:
    reader = FieldReader.of(value, path)
    reader.refuse_unknown(tuple(RateLimit.model_fields))
    bounds = {"max_runs": MAX_RATE_RUNS, "window_seconds": MAX_RATE_WINDOW_SECONDS}
    fields: dict[str, int | None] = {}
    for key, high in bounds.items():
        fields[key] = reader.optional_integer(key, 1, high)
        if not reader.given(key):
            reader.missing(key, f"an integer from 1 to {high}")
    reader.close()
    return RateLimit.model_validate(fields)


def _read_tools(reader: FieldReader) -> list[str] | None:
    items = reader.items("allowed_tools", "tool names")
    if items is None:
        return None
    names: dict[str, None] = {}
    for item in items:
        name = item.strip() if isinstance(item, str) and is_unicode(item) else ""
        if not name:
            reader.invalid("allowed_tools", f"must be a list of tool names; {shown(item)} is none")
        names[name] = None
    return list(names)


def _read_cost(reader: FieldReader) -> str | None:
    if not reader.given("max_cost_usd"):
        return None
    field = reader.field("max_cost_usd")
    micros = reader.check(lambda: parse_usd(reader.raw("max_cost_usd"), field))
    return None if micros is None else format_usd(micros)
