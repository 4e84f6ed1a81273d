"""A worker is killed while its tools run: what may have had its effect is not done again.

The tool is an HTTP request that its receiver holds back, so that it has certainly arrived when the
worker dies.
"""

import asyncio
from pathlib import Path

import pytest

from domain.runs import RunStatus
from domain.tool_actions import ActionStatus
from tests.chaos.stage import assert_closed_normally, ended, ledger, staged
from tests.support.harness import Harness
from tests.support.model_steps import Reply
from tests.support.receiver import Hang, running_receiver
from tests.support.tool_runs import Listener, asks
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
    async with running_receiver() as posts, running_receiver() as reads:
        posts.script.append(Hang())
        reads.script.append(Hang())
        allowed = f'["127.0.0.1:{posts.port}", "127.0.0.1:{reads.port}"]'
        settings = {
            "TICKLESS_TOOL_PERMISSIONS": '{"http_request": "allow"}',
            "TICKLESS_TOOL_HTTP_ALLOWED_HOSTS": allowed,
        }
        async with staged(tmp_path, **settings) as (_, harness):
            post = {"method": "POST", "url": f"http://127.0.0.1:{posts.port}/pay", "body": "1"}
            paying = Listener(asks(("http_request", post)), Reply("Paid, I think."))
            get = {"url": f"http://127.0.0.1:{reads.port}/price"}
            reading = Listener(asks(("http_get", get)), Reply("It costs 1."))
            async with worker_process(harness) as worker:
                runs = [await triggered(harness, paying), await triggered(harness, reading)]
                async with asyncio.timeout(60):
                    await posts.arrived.wait()
                    await reads.arrived.wait()
                await worker.kill()
            async with worker_process(harness):
                views = [await ended(harness, run, 90) for run in runs]

            for view in views:
                assert view.record.status is RunStatus.ATTENTION
                await assert_closed_normally(harness, view.record.id)
            async with ledger(harness) as store:
                paid, read = [await store.actions.of_run(run) for run in runs]
            assert [row.status for row in paid] == [ActionStatus.UNKNOWN]
            assert len(posts.requests) == 1
            assert paying.results()[0].startswith("unknown: the call had begun")
            assert [row.status for row in read] == [ActionStatus.OK]
            assert len(reads.requests) == 2
