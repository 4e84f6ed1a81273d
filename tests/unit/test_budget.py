"""Money: amounts, costs, reservations, limits of a run (triggers-and-actions.md §11, row 17)."""

from datetime import UTC, datetime
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from domain.budget import (
    BudgetScope,
    BudgetScopeName,
    Price,
    PriceTable,
    RunLimits,
    RunUsage,
    Usage,
    cost_micros,
    day_key,
    estimate_micros,
    format_usd,
    parse_usd,
    reserve,
    run_limit,
    settle,
)
from domain.errors import DomainError, ErrorKind

PRICE = Price(input_per_mtok=3_000_000, output_per_mtok=15_000_000)
CACHED = PRICE.model_copy(
    update={"cache_read_per_mtok": 300_000, "cache_write_per_mtok": 3_750_000}
)

counts = st.integers(0, 10**7)
prices = st.builds(
    Price,
    input_per_mtok=counts,
    output_per_mtok=counts,
    cache_read_per_mtok=st.none() | counts,
    cache_write_per_mtok=st.none() | counts,
)
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    cache_read_tokens=counts,
    cache_write_tokens=counts,
)


def scope(
    name: str = "run", limit: int | None = None, spent: int = 0, reserved: int = 0
) -> BudgetScope:
    return BudgetScope(
        scope=BudgetScopeName(name),
        limit_micros=limit,
        spent_micros=spent,
        reserved_micros=reserved,
    )


class TestAmounts:
    @pytest.mark.parametrize(
        ("value", "micros"),
        [
            ("0.50", 500_000),
            (0.5, 500_000),
            (1, 1_000_000),
            (1.0, 1_000_000),
            ("0.000001", 1),
            (0.000001, 1),
            (0.1, 100_000),
            (" 2.25 ", 2_250_000),
            ("007", 7_000_000),
            (1_000_000, 10**12),
            ("1000000.000000", 10**12),
        ],
    )
    def test_numbers_and_decimal_texts_are_read(self, value: object, micros: int) -> None:
        assert parse_usd(value) == micros

    @pytest.mark.parametrize(
        "value",
        [
            0,
            0.0,
            "0",
            "0.000000",
            -1,
            "-1",
            "+1",
            "$1",
            "1 USD",
            "1,5",
            "1_000",
            "1e3",
            ".5",
            "5.",
            "٥",
            "",
            "abc",
            "nan",
            "0.0000001",
            "1.0000000",
            0.0000001,
            0.1 + 0.2,
            1_000_001,
            "1000000.000001",
            10**400,
            float("inf"),
            float("nan"),
            True,
            None,
            [],
            {},
        ],
    )
    def test_everything_else_is_refused_as_no_amount_in_usd(self, value: object) -> None:
        with pytest.raises(DomainError, match="USD") as caught:
            parse_usd(value)
        assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, "max_cost_usd")

    def test_the_error_names_the_field_that_was_asked(self) -> None:
        with pytest.raises(DomainError) as caught:
            parse_usd("$1", "guardrails.max_cost_usd")
        assert caught.value.field == "guardrails.max_cost_usd"

    @pytest.mark.parametrize(
        ("micros", "text"),
        [(500_000, "0.5"), (1, "0.000001"), (10_000_000, "10"), (10**12, "1000000"), (0, "0")],
    )
    def test_amounts_are_written_as_the_shortest_text(self, micros: int, text: str) -> None:
        assert format_usd(micros) == text

    @given(st.integers(1, 10**12))
    def test_what_is_written_is_read_again(self, micros: int) -> None:
        assert parse_usd(format_usd(micros)) == micros


class TestCosts:
    @pytest.mark.parametrize(
        ("usage", "price", "micros"),
        [
            (Usage(), PRICE, 0),
            (Usage(input_tokens=1000, output_tokens=200), PRICE, 6000),
            (Usage(cache_read_tokens=1000), CACHED, 300),
            (Usage(cache_write_tokens=1000), CACHED, 3750),
            (Usage(cache_read_tokens=1000), PRICE, 3000),
            (Usage(cache_write_tokens=1000), PRICE, 3000),
            (Usage(cache_read_tokens=None, cache_write_tokens=None, input_tokens=1), PRICE, 3),
            (Usage(input_tokens=5), Price(input_per_mtok=0, output_per_mtok=0), 0),
        ],
    )
    def test_tokens_times_price(self, usage: Usage, price: Price, micros: int) -> None:
        assert cost_micros(usage, price) == micros

    def test_a_free_cache_is_free(self) -> None:
        price = PRICE.model_copy(update={"cache_read_per_mtok": 0, "cache_write_per_mtok": 0})
        assert cost_micros(Usage(cache_read_tokens=9, cache_write_tokens=9), price) == 0
        assert price.dearest_input == price.input_per_mtok

    def test_a_part_of_a_micro_costs_a_micro_once_per_call(self) -> None:
        price = Price(input_per_mtok=1, output_per_mtok=1)
        assert cost_micros(Usage(input_tokens=1), price) == 1
        assert cost_micros(Usage(input_tokens=1, output_tokens=1), price) == 1
        assert cost_micros(Usage(input_tokens=1_000_001), price) == 2

    @pytest.mark.parametrize(
        ("usage", "price"),
        [
            (Usage(), None),
            (None, PRICE),
            (Usage(input_tokens=None, output_tokens=1), PRICE),
            (Usage(input_tokens=1, output_tokens=None), PRICE),
        ],
    )
    def test_unknown_stays_null(self, usage: Usage | None, price: Price | None) -> None:
        assert cost_micros(usage, price) is None

    @given(usages, prices)
    def test_rounding_is_up_and_by_less_than_a_micro(self, usage: Usage, price: Price) -> None:
        exact = sum(
            (tokens or 0) * each
            for tokens, each in (
                (usage.input_tokens, price.input_per_mtok),
                (usage.output_tokens, price.output_per_mtok),
                (usage.cache_read_tokens, price.cache_read),
                (usage.cache_write_tokens, price.cache_write),
            )
        )
        cost = cast("int", cost_micros(usage, price))
        assert exact <= cost * 1_000_000 < exact + 1_000_000

    @pytest.mark.parametrize(("price", "micros"), [(PRICE, 64_440), (CACHED, 65_190), (None, None)])
    def test_the_estimate_takes_the_dearest_input(
        self, price: Price | None, micros: int | None
    ) -> None:
        assert estimate_micros(1000, 4096, price) == micros

    @given(prices, counts, counts, st.integers(0, 100))
    def test_no_call_costs_more_than_its_estimate(
        self, price: Price, prompt: int, output: int, cached_percent: int
    ) -> None:
        cached = prompt * cached_percent // 100
        usage = Usage(input_tokens=prompt - cached, output_tokens=output, cache_write_tokens=cached)
        cost, estimate = cost_micros(usage, price), estimate_micros(prompt, output, price)
        assert cast("int", cost) <= cast("int", estimate)


class TestPriceTable:
    TABLE = PriceTable(prices={"openai/gpt-x": PRICE}, price_version="2026-01")

    def test_names_are_exact(self) -> None:
        assert self.TABLE.price("openai", "gpt-x") == PRICE
        for provider, model in (("openai", "gpt-x-mini"), ("openai", "gpt"), ("OpenAI", "gpt-x")):
            assert self.TABLE.price(provider, model) is None

    def test_a_price_is_never_negative(self) -> None:
        with pytest.raises(ValidationError):
            Price(input_per_mtok=-1, output_per_mtok=0)


class TestReserve:
    def test_the_amount_is_reserved_in_every_scope(self) -> None:
        verdict = reserve([scope("run", 100, 30, 10), scope("routine_day", None, 5)], 60)
        assert verdict.allowed
        assert verdict.reason is None
        assert verdict.scopes == [scope("run", 100, 30, 70), scope("routine_day", None, 5, 60)]

    def test_exactly_the_limit_is_allowed(self) -> None:
        assert reserve([scope("run", 100, 30, 10)], 60).allowed
        assert not reserve([scope("run", 100, 30, 10)], 61).allowed

    def test_the_first_scope_that_refuses_is_named_and_nothing_is_reserved(self) -> None:
        scopes = [scope("run", 100), scope("routine_day", 50), scope("deployment_day", 10)]
        verdict = reserve(scopes, 60)
        assert (verdict.allowed, verdict.reason, verdict.scope) == (False, "budget", "routine_day")
        assert verdict.scopes == scopes

    def test_an_unknown_price_is_refused_by_any_limit(self) -> None:
        scopes = [scope("run"), scope("routine_day", 500)]
        verdict = reserve(scopes, None)
        assert (verdict.reason, verdict.scope) == ("unknown_price", "routine_day")
        assert verdict.scopes == scopes

    def test_an_unknown_price_goes_on_without_limits(self) -> None:
        scopes = [scope("run"), scope("deployment_day", None, 7)]
        verdict = reserve(scopes, None)
        assert verdict.allowed
        assert verdict.scopes == scopes


class TestSettle:
    @pytest.mark.parametrize(
        ("actual", "spent", "overrun"),
        [
            pytest.param(20, 20, 0, id="the rest is given back"),
            pytest.param(60, 60, 0, id="as dear as reserved"),
            pytest.param(75, 75, 15, id="dearer than reserved: booked in full"),
            pytest.param(None, 60, 0, id="usage unknown: the reservation counts as spent"),
            pytest.param(0, 0, 0, id="never sent: released"),
        ],
    )
    def test_a_reservation_is_replaced_by_the_cost(
        self, actual: int | None, spent: int, overrun: int
    ) -> None:
        settled = settle([scope("run", 100, 1, 60), scope("routine_day", None, 5, 90)], 60, actual)
        assert settled.overrun_micros == overrun
        assert settled.scopes == [
            scope("run", 100, 1 + spent, 0),
            scope("routine_day", None, 5 + spent, 30),
        ]

    def test_what_is_reserved_never_falls_below_zero(self) -> None:
        assert settle([scope("run", None, 0, 10)], 60, 0).scopes == [scope("run")]

    @given(
        st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8),
        st.integers(0, 500),
    )
    def test_sums_are_conserved(self, calls: list[tuple[int, int]], limit: int) -> None:
        """Whatever was reserved is spent or given back, and no estimate lets a limit be passed."""
        scopes = [scope("run", limit), scope("deployment_day")]
        open_calls: list[tuple[int, int]] = []
        for estimate, actual in calls:
            verdict = reserve(scopes, estimate)
            scopes = verdict.scopes
            if verdict.allowed:
                open_calls.append((estimate, min(estimate, actual)))
            held = sum(amount for amount, _ in open_calls)
            assert [each.reserved_micros for each in scopes] == [held, held]
            assert held <= limit
        for estimate, actual in open_calls:
            scopes = settle(scopes, estimate, actual).scopes
        spent = sum(actual for _, actual in open_calls)
        assert [(each.spent_micros, each.reserved_micros) for each in scopes] == [(spent, 0)] * 2


class TestDays:
    @pytest.mark.parametrize(
        ("zone", "day"),
        [
            ("UTC", "2026-06-01"),
            ("Europe/Berlin", "2026-06-02"),
            ("America/New_York", "2026-06-01"),
            ("Pacific/Kiritimati", "2026-06-02"),
        ],
    )
    def test_a_day_is_the_calendar_date_of_the_deployment(self, zone: str, day: str) -> None:
        assert day_key(datetime(2026, 6, 1, 23, 30, tzinfo=UTC), zone) == day

    def test_utc_unless_told_otherwise(self) -> None:
        assert day_key(datetime(2026, 6, 1, 23, 30, tzinfo=UTC)) == "2026-06-01"

    def test_a_time_without_offset_is_refused(self) -> None:
        with pytest.raises(DomainError, match="RFC 3339"):
            day_key(datetime(2026, 6, 1))  # noqa: DTZ001 - a naive time is the point

    def test_an_unknown_zone_is_refused(self) -> None:
        with pytest.raises(DomainError, match="IANA"):
            day_key(datetime(2026, 6, 1, tzinfo=UTC), "Mars/Base")


class TestRunLimits:
    @pytest.mark.parametrize(
        ("limits", "usage", "exceeded"),
        [
            (RunLimits(), RunUsage(tokens=10**9, tool_calls=10**9), None),
            (RunLimits(max_tokens_total=100), RunUsage(tokens=99), None),
            (RunLimits(max_tokens_total=100), RunUsage(tokens=100), "max_tokens_total"),
            (RunLimits(max_tool_calls=3), RunUsage(tool_calls=2), None),
            (RunLimits(max_tool_calls=3), RunUsage(tool_calls=3), "max_tool_calls"),
            (RunLimits(max_tool_calls=0), RunUsage(), "max_tool_calls"),
            (
                RunLimits(max_tokens_total=1, max_tool_calls=1),
                RunUsage(tokens=1, tool_calls=1),
                "max_tokens_total",
            ),
        ],
    )
    def test_a_limit_that_is_reached_stops_the_next_call(
        self, limits: RunLimits, usage: RunUsage, exceeded: str | None
    ) -> None:
        assert run_limit(limits, usage).exceeded == exceeded
