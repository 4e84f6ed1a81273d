"""What runs have cost, asked through Temporal: library, command line and HTTP."""

import pytest

from domain.errors import DomainError, ErrorKind
from tests.support.command import command
from tests.support.gateway import gateway_under_test
from tests.support.harness import Harness
from tests.support.model_steps import Reply


async def test_the_cost_of_a_routine(harness: Harness) -> None:
    routine = await harness.routine(Reply("Hello."))
    await harness.run_once(routine)
    found = await harness.tickless.costs.report("routine", 1)
    (entry,) = [item for item in found.entries if item.key == routine]
    # There are no prices here: unknown is not nothing.
    assert (entry.calls, entry.tokens_in, entry.tokens_out) == (1, 11, 7)
    assert (entry.cost_micros, entry.unpriced) == (0, 1)
    assert found.total.calls >= 1
    by_model = await harness.tickless.costs.report("model", 1)
    assert "openai/first" in [item.key for item in by_model.entries]

    shown = await command(harness, "cost", "--by", "routine", "--days", "1", terminal=True)
    assert shown.code == 0
    (line,) = [line for line in shown.out.splitlines() if line.startswith(routine)]
    assert line.split()[1:] == ["1", "11", "7", "0", "+", "1", "unpriced"]
    told = await command(harness, "cost", "--by", "routine", "--output", "json")
    assert routine in [item["key"] for item in told.json["entries"]]

    async with (
        gateway_under_test(harness) as gateway,
        gateway.client(gateway.token("read")) as http,
    ):
        answer = await http.get("/api/v1/cost", params={"by": "routine", "days": 1})
        assert answer.status_code == 200
        assert routine in [item["key"] for item in answer.json()["entries"]]
        assert (await http.get("/api/v1/cost", params={"by": "week"})).status_code == 400


@pytest.mark.parametrize(
    ("by", "days", "field"), [("week", 1, "by"), ("day", 0, "days"), ("day", 367, "days")]
)
async def test_bad_questions(harness: Harness, by: str, days: int, field: str) -> None:
    with pytest.raises(DomainError) as caught:
        await harness.tickless.costs.report(by, days)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, field)
