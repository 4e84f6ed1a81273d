"""What a model's tokens cost.

Owns the price table and the cost of one call, before and after it. Does not own whether the call
may be made (`domain.budget`). Source: triggers-and-actions.md §11.

Invariants:
    1. A cost is rounded up to a micro once per call; an unknown cost is null, never 0.
    2. A model has a price only under its exact name.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TOKENS_PER_PRICE = 1_000_000

Count = Annotated[int, Field(ge=0)]


class Price(BaseModel):
    """Micros of USD per million tokens of one model; absent cache prices are the input price."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input_per_mtok: Count
    output_per_mtok: Count
    cache_read_per_mtok: Count | None = None
    cache_write_per_mtok: Count | None = None

    @property
    def cache_read(self) -> int:
        """What tokens read from a cache cost."""
        return _given(self.cache_read_per_mtok, self.input_per_mtok)

    @property
    def cache_write(self) -> int:
        """What tokens written to a cache cost."""
        return _given(self.cache_write_per_mtok, self.input_per_mtok)

    @property
    def dearest_input(self) -> int:
        """What prompt tokens cost at worst."""
        return max(self.input_per_mtok, self.cache_write)


class PriceTable(BaseModel):
    """Setting `prices`: what each model costs, by `provider/model`, and how this list is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: dict[str, Price] = {}
    price_version: str | None = None

    def price(self, provider: str, model: str) -> Price | None:
        """The price of exactly this model; null when the table does not name it."""
        return self.prices.get(f"{provider}/{model}")


class Usage(BaseModel):
    """Tokens of one model call; null is unknown. `input_tokens` excludes cached ones.

    A provider that does not tell cached tokens has counted them as input, so null is 0 for these
    two.
    """

    model_config = ConfigDict(frozen=True)

    input_tokens: Count | None = 0
    output_tokens: Count | None = 0
    cache_read_tokens: Count | None = 0
    cache_write_tokens: Count | None = 0


def cost_micros(usage: Usage | None, price: Price | None) -> int | None:
    """What a call cost, rounded up to a micro; null when price or usage is unknown."""
    if price is None or usage is None:
        return None
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return _priced(
        usage.input_tokens * price.input_per_mtok
        + usage.output_tokens * price.output_per_mtok
        + (usage.cache_read_tokens or 0) * price.cache_read
        + (usage.cache_write_tokens or 0) * price.cache_write
    )


def estimate_micros(prompt_tokens: int, max_output_tokens: int, price: Price | None) -> int | None:
    """What a call can cost at most, to be reserved before it; null when the price is unknown."""
    if price is None:
        return None
    return _priced(prompt_tokens * price.dearest_input + max_output_tokens * price.output_per_mtok)


def _given(price: int | None, otherwise: int) -> int:
    # A price of 0 is a price.
    return otherwise if price is None else price


def _priced(token_micros: int) -> int:
    return -(-token_micros // TOKENS_PER_PRICE)
