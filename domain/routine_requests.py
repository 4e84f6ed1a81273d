"""What a routine can be asked, and what it answers.

Owns the payloads of the messages of the workflow `Routine` that concern its life; those of its runs
are `domain.admission`'s. All but creation may be left empty when sent from the Temporal UI or CLI:
whoever may send there acts as the operator.
"""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.actor import Actor
from domain.routine import Routine
from domain.routine_state import RoutineState
from domain.runs import KeptRun
from domain.scopes import Route, Scope


class CreateRoutine(BaseModel):
    """A routine to be created: the body as the user gave it, and the context it was given in.

    `key` tells a repetition from a second routine of the same name; `digest` is that of the body.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    body: dict[str, Any]
    scope: Scope
    route: Route
    creator: Actor
    session_key: str = ""
    resume_thread_id: str | None = None
    source_message_id: str | None = None
    default_timezone: str = "UTC"
    key: str
    digest: str


class StartRoutine(BaseModel):
    """Input of the workflow: a creation at first, the whole state when it continues as new."""

    model_config = ConfigDict(frozen=True)

    create: CreateRoutine | None = None
    state: RoutineState | None = None


class Asker(BaseModel):
    """Who asks: a user with a scope, or (both null) the operator."""

    model_config = ConfigDict(frozen=True)

    actor_id: str | None = None
    scope: Scope | None = None


class ChangeRoutine(Asker):
    """Body of `pause`, `resume` and `delete`; `if_revision` refuses when somebody was faster."""

    if_revision: int | None = None


class PatchRoutine(ChangeRoutine):
    """Body of `patch`: a JSON merge patch."""

    changes: dict[str, Any]


class DeleteRoutine(ChangeRoutine):
    """Body of `delete`; kept for `retention_days` unless `purge`."""

    purge: bool = False
    retention_days: int = 30


class TriggerRoutine(Asker):
    """Body of `trigger`: one extra run now; `force` also while paused."""

    force: bool = False


class BackfillRoutine(Asker):
    """Body of `backfill`: one run for each time of the schedule from `start` to `end`, inclusive.

    With `dry_run` nothing is started.
    """

    start: AwareDatetime
    end: AwareDatetime
    dry_run: bool = False


class BackfillRun(BaseModel):
    """A time that is made up for, and the run that does so."""

    model_config = ConfigDict(frozen=True)

    scheduled_at: AwareDatetime
    run_id: str


class BackfillAnswer(BaseModel):
    """The runs of a backfill, oldest first; they start one after the other."""

    model_config = ConfigDict(frozen=True)

    runs: list[BackfillRun]
    dry_run: bool = False


class RoutineAnswer(BaseModel):
    """The routine after a change, with what the user should know of it.

    `skipped` counts its refused fires by reason, `backlog` the times that a backfill has still to
    make up for.
    """

    model_config = ConfigDict(frozen=True)

    routine: Routine
    warnings: list[str] = []
    skipped: dict[str, int] = {}
    backlog: int = 0


class RunAccepted(BaseModel):
    """A run that was started or will be."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    workflow_id: str


class ListRuns(Asker):
    """Body of the query `runs`; newest first."""

    limit: int = 20


class RunList(BaseModel):
    """Answer of the query `runs`."""

    model_config = ConfigDict(frozen=True)

    runs: list[KeptRun]
