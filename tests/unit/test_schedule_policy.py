"""What the server does with overlapping and missed fires (automation.md §5, the table)."""

from datetime import timedelta
from typing import Any

import pytest

from domain.guardrails import Guardrails
from domain.schedule import Schedule
from domain.schedule_policy import CompiledPolicy, Overlap, compile_policy

DAYS_7 = timedelta(days=7)
MINUTE = timedelta(seconds=60)


@pytest.mark.parametrize(
    ("schedule", "guardrails", "overlap", "window"),
    [
        ({}, {}, Overlap.BUFFER_ONE, DAYS_7),
        ({"catchup": "skip"}, {}, Overlap.BUFFER_ONE, MINUTE),
        ({}, {"max_concurrent": 2}, Overlap.ALLOW_ALL, MINUTE),
        ({}, {"overlap": "skip"}, Overlap.ALLOW_ALL, MINUTE),
        ({"catchup": "skip"}, {"overlap": "skip"}, Overlap.ALLOW_ALL, MINUTE),
        ({"catchup": "all"}, {}, Overlap.BUFFER_ALL, DAYS_7),
        (
            {"catchup": "all", "catchup_window_seconds": 90},
            {},
            Overlap.BUFFER_ALL,
            timedelta(seconds=90),
        ),
        (
            {"catchup": "all", "catchup_window_seconds": 90},
            {"overlap": "skip"},
            Overlap.BUFFER_ALL,
            timedelta(seconds=90),
        ),
    ],
)
def test_the_table(
    schedule: dict[str, Any], guardrails: dict[str, Any], overlap: Overlap, window: timedelta
) -> None:
    compiled = compile_policy(
        Schedule.model_validate({"every_seconds": 60, **schedule}),
        Guardrails.model_validate(guardrails),
    )
    assert compiled == CompiledPolicy(overlap=overlap, catchup_window=window)
    assert compiled.catchup_window <= DAYS_7, "never a year, which is the server's default"
