"""After how long a silent step of a job is taken for lost: as the deployment says, whoever asks."""

from datetime import timedelta

from domain.jobs import job_workflow_id
from tests.support.goal_setters import goal_setter
from tests.support.harness import Harness
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang

LOOKS = calls(("time_now", "{}"))


async def beats(harness: Harness, job_id: str) -> set[tuple[str, timedelta]]:
    """The heartbeats that the steps of a job owe."""
    history = await harness.client.get_workflow_handle(job_workflow_id(job_id)).fetch_history()
    asked = [event.activity_task_scheduled_event_attributes for event in history.events]
    return {
        (item.activity_type.name, item.heartbeat_timeout.ToTimedelta())
        for item in asked
        if item.activity_type.name in {"call_model", "dispatch_tool"}
    }


def wanted(harness: Harness) -> set[tuple[str, timedelta]]:
    beat = timedelta(seconds=harness.settings.job_step_heartbeat_seconds)
    assert beat == timedelta(seconds=20), "another than the default"
    return {("call_model", beat), ("dispatch_tool", beat)}


async def test_a_job_by_hand(harness: Harness) -> None:
    mark = harness.name()
    harness.scripts.on(mark, LOOKS, said("Done."))
    body = {"title": "T", "description": f"Do {mark}."}
    job_id = (await harness.tickless.jobs.create(body)).job_id
    await harness.client.get_workflow_handle(job_workflow_id(job_id)).result()
    assert await beats(harness, job_id) == wanted(harness)


async def test_the_job_of_a_run(harness: Harness) -> None:
    name = harness.name()
    action = {"type": "full_job", "title": "T", "description": f"Do {name}."}
    harness.scripts.on(name, LOOKS, said("Done."))
    file = {"route": {"receive_id_type": "file", "receive_id": ""}}
    body = {"trigger": {"type": "manual"}, "action": action, "notify": file}
    await harness.tickless.routines.create(body, name=name)
    view = await harness.run_once(name)
    assert await beats(harness, view.record.job_id or "") == wanted(harness)


async def test_the_job_of_an_iteration(harness: Harness) -> None:
    setter = goal_setter(harness)
    setter.works(LOOKS, Hang())
    await setter.goals.create(setter.objective)

    def works() -> bool:
        return sum(setter.name in str(call.body) for call in harness.models.calls) == 2

    await harness.models.wait_for(works)
    job_id = (await setter.goals.get()).job_id
    assert job_id is not None
    assert await beats(harness, job_id) == wanted(harness)
    await setter.goals.delete()
