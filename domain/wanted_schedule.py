"""What the Temporal Schedule of a routine should be.

Owns the model between the routine, which decides, and the activity that puts it.
"""

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.emissions import EmittedEvent
from domain.schedule import TemporalSpec
from domain.schedule_policy import CompiledPolicy, Overlap

_NO_POLICY = CompiledPolicy(overlap=Overlap.ALLOW_ALL, catchup_window=timedelta(seconds=60))


class WantedSchedule(BaseModel):
    """A Schedule to be put; `spec` null means there should be none.

    `single_instants` are fired in addition to the spec, each exactly once. `comment` is what the
    user wrote, shown in the Temporal UI. `event` is what to tell once the Schedule is put.
    """

    model_config = ConfigDict(frozen=True)

    routine_id: str
    title: str
    scope: str
    owner: str
    paused: bool
    comment: str = ""
    spec: TemporalSpec | None = None
    single_instants: list[AwareDatetime] = []
    policy: CompiledPolicy = _NO_POLICY
    event: EmittedEvent | None = None
