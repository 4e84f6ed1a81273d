"""A worker is killed while its tools run: what may have had its effect is not done again.

The tool is an HTTP request that its receiver holds back, so that it has certainly arrived when the
worker dies.
"""

from pathlib import Path

import pytest

from domain.runs import RunStatus
from tests.chaos.stage import assert_closed_normally, ended, ledger, staged
from tests.support.harness import Harness
from tests.support.held_calls import held_calls
from tests.support.tool_runs import Listener
from tests.support.worker_process import worker_process

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("heavy")]


async def triggered(harness: Harness, model: Listener) -> str:
    """A run whose model uses tools."""
    name = harness.name()
    harness.scripts.on(name, model)
    body = {
        "trigger": {"type": "manual"},
        "action": {"type": "lightweight", "prompt": f"Do {name}.", "use_tools": True},
        "notify": {"route": {"receive_id_type": "file", "receive_id": ""}},
    }
    await harness.tickless.routines.create(body, name=name)
    return (await harness.tickless.runs.trigger(name)).run_id


async def test_calls_under_way_are_made_at_most_once(tmp_path: Path) -> None:
    async with held_calls() as held, staged(tmp_path, **held.settings) as (_, harness):
        async with worker_process(harness) as worker:
            runs = [await triggered(harness, model) for model in (held.paying, held.reading)]
            await held.arrived()
            await worker.kill()
        async with worker_process(harness):
            views = [await ended(harness, run, 90) for run in runs]

        for view in views:
            assert view.record.status is RunStatus.ATTENTION
            await assert_closed_normally(harness, view.record.id)
        async with ledger(harness) as store:
            paid, read = [await store.actions.of_run(run) for run in runs]
        held.assert_made_at_most_once(paid, read)
