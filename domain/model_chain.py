"""The chain of models a call may go to, in order of preference.

Owns the description of a model and which of the chain is usable next. Prices are in
`domain.budget`, what an error means in `domain.fallback`. Source: chat-policies.md §7.3, DESIGN §4.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ToolCallStyle(StrEnum):
    """How tools are offered: the API's own field, or a grammar that small models can follow."""

    NATIVE = "native"
    CONSTRAINED = "constrained"


class ModelSpec(BaseModel):
    """One OpenAI-compatible model, an item of setting `models`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="The model's name as the provider knows it.")
    provider: str = Field(
        default="openai", description="Name of the provider, the first part of a price's key."
    )
    base_url: str | None = Field(
        default=None,
        description="The API's address; empty means OpenAI's own (or OPENAI_BASE_URL).",
    )
    api_key: SecretStr | None = Field(
        default=None,
        description="The key: a literal, `env:NAME` or `file:PATH`; empty means OPENAI_API_KEY.",
    )
    context_tokens: int = Field(default=128_000, gt=0, description="Size of the context window.")
    max_tokens: int | None = Field(
        default=None, gt=0, description="Cap on the answer, below what a routine asks for."
    )
    temperature: float | None = Field(default=None, ge=0, le=2, description="Sampling temperature.")
    tool_calls: ToolCallStyle = Field(
        default=ToolCallStyle.NATIVE, description="How tools are offered to this model."
    )
    connect_timeout_seconds: float = Field(
        default=10, gt=0, description="Longest wait for a connection."
    )
    idle_timeout_seconds: float = Field(
        default=120, gt=0, description="Longest silence of a stream before the call counts as hung."
    )

    @property
    def key(self) -> str:
        """`provider/name`: how prices and cool-downs name this model."""
        return f"{self.provider}/{self.name}"


def usable_models(chain: Sequence[ModelSpec], cooling: Collection[str]) -> list[ModelSpec]:
    """The models of the chain that are not cooling down, in order.

    Args:
        chain: All configured models, the preferred one first.
        cooling: Keys of the models that failed a moment ago.

    Returns:
        What is left; the whole chain when nothing would be, because a model that may answer is
        better than none.
    """
    return [model for model in chain if model.key not in cooling] or list(chain)
