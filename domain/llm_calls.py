"""One call of a model: what it used and cost. A row of the table `llm_calls`.

Owns the row model. Prices and budgets are `domain.budget`'s.
Source: triggers-and-actions.md §10 and §11.

Invariant: each attempt is a row of its own, so tokens of failed attempts are never lost.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict


class LlmCallStatus(StrEnum):
    """How a call stands; `started` rows are calls whose worker died before it could say more."""

    STARTED = "started"
    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"


class LlmCall(BaseModel):
    """One row of `llm_calls`; token counts and cost are null where the provider did not say.

    `id` is `<workflow id>/<activity id>/<attempt>`. `tokens_in` excludes cached ones. Exactly one
    of `run_id`, `turn_id` and `goal_id` says who called, or `job_id` alone for a job made by hand.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    run_id: str | None = None
    turn_id: str | None = None
    job_id: str | None = None
    goal_id: str | None = None
    sequence: int = 1
    attempt: int = 1
    model: str
    provider: str
    purpose: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_micros: int | None = None
    price_version: str | None = None
    latency_ms: int | None = None
    status: LlmCallStatus = LlmCallStatus.STARTED
    error: str | None = None
    started_at: AwareDatetime
