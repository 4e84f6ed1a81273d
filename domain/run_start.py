"""What a `RoutineRun` is started with.

Owns the one input model of the run's workflow, built by Schedules, by the client and by routines.
Invariant: the run's id is in its workflow id, not here, because the server completes it for
Schedules.
"""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.prompts import UntrustedText
from domain.runs import FireKind


class StartRun(BaseModel):
    """The fire that a run stands for; times that are null are the workflow's own.

    `actor_id` is who asked for a manual run; null is the operator, who may. `untrusted` is what
    came with a message, event or delivery: data for the prompt, at most 64 KiB in all.
    `trigger_digest` is the trigger that an event or message has matched.
    """

    model_config = ConfigDict(frozen=True)

    routine_id: str
    kind: FireKind
    trigger_detail: str = ""
    scheduled_at: AwareDatetime | None = None
    occurred_at: AwareDatetime | None = None
    content_hash: str | None = None
    delivery_digest: str | None = None
    trigger_digest: str | None = None
    force: bool = False
    hop: int = 0
    actor_id: str | None = None
    untrusted: list[UntrustedText] = []
