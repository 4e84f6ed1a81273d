"""The limits of a routine, as a validated value.

Owns the models. Their ranges and defaults are `domain.guardrails`', what they decide is
`domain.admission_rules`'. Source: triggers-and-actions.md §4.

Invariant: null is "no limit" or "the deployment's setting"; a validated value has every key.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Overlap(StrEnum):
    """What happens to a fire at `max_concurrent`."""

    QUEUE_ONE = "queue_one"
    SKIP = "skip"


class RateLimit(BaseModel):
    """At most so many starts in a sliding window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_runs: int
    window_seconds: int


class Guardrails(BaseModel):
    """The limits of a routine; `max_cost_usd` is decimal text so that no float touches money."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cooldown_seconds: int = 0
    max_concurrent: int = 1
    overlap: Overlap = Overlap.QUEUE_ONE
    dedup_window_seconds: int | None = None
    max_age_seconds: int | None = None
    rate_limit: RateLimit | None = None
    run_timeout_seconds: int | None = None
    max_tokens_total: int | None = None
    max_tool_calls: int | None = None
    allowed_tools: list[str] | None = None
    max_cost_usd: str | None = None
