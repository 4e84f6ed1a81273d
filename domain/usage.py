"""What model calls have spent so far: tokens and money, where unknown is not zero.

Owns the sum. A single call's row is `domain.llm_calls`', prices are `domain.budget`'s.
"""

from pydantic import BaseModel, ConfigDict


class Spent(BaseModel):
    """Tokens and cost of several calls; null while nothing is known."""

    model_config = ConfigDict(frozen=True)

    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None

    def plus(self, tokens_in: int | None, tokens_out: int | None, cost: int | None) -> "Spent":
        """The sum with another call; what that call did not report leaves the sum as it was."""
        return Spent(
            tokens_in=_sum(self.tokens_in, tokens_in),
            tokens_out=_sum(self.tokens_out, tokens_out),
            cost_micros=_sum(self.cost_micros, cost),
        )

    @property
    def tokens(self) -> int | None:
        """All tokens, in and out."""
        return _sum(self.tokens_in, self.tokens_out)


def _sum(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right
