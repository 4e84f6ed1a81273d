"""Everything that talks to Temporal from outside: library, command line, settings.

The library's public names are here; importing one loads only what it needs, because the command
line must answer `--help` before anything heavy is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.approvals import ApprovalList, Approvals
    from client.context import CallerContext
    from client.goal_reader import GoalAnswer, GoalList
    from client.goals import GoalCreated, Goals
    from client.job_reader import JobAnswer, JobList
    from client.jobs import Jobs, JobStarted
    from client.manifests import Applied, Export, Manifest, Manifests, Plan
    from client.routines import RoutineCreated, RoutinePage, Routines
    from client.runs import RunProgress, Runs, RunStarted
    from client.schedules import Preview, Schedules
    from client.session_sender import MessageSent
    from client.session_watch import SessionProgress
    from client.sessions import SessionPage, Sessions
    from client.settings import Settings, load_settings
    from client.system import System
    from client.tickless import TicklessClient
    from domain.errors import DomainError, ErrorKind, Problem

_HOMES = {
    "Applied": "client.manifests",
    "ApprovalList": "client.approvals",
    "Approvals": "client.approvals",
    "CallerContext": "client.context",
    "DomainError": "domain.errors",
    "ErrorKind": "domain.errors",
    "Export": "client.manifests",
    "GoalAnswer": "client.goal_reader",
    "GoalCreated": "client.goals",
    "GoalList": "client.goal_reader",
    "Goals": "client.goals",
    "JobAnswer": "client.job_reader",
    "JobList": "client.job_reader",
    "JobStarted": "client.jobs",
    "Jobs": "client.jobs",
    "Manifest": "client.manifests",
    "Manifests": "client.manifests",
    "MessageSent": "client.session_sender",
    "Plan": "client.manifests",
    "Preview": "client.schedules",
    "Problem": "domain.errors",
    "RoutineCreated": "client.routines",
    "RoutinePage": "client.routines",
    "Routines": "client.routines",
    "RunProgress": "client.runs",
    "RunStarted": "client.runs",
    "Runs": "client.runs",
    "Schedules": "client.schedules",
    "SessionPage": "client.sessions",
    "SessionProgress": "client.session_watch",
    "Sessions": "client.sessions",
    "Settings": "client.settings",
    "System": "client.system",
    "TicklessClient": "client.tickless",
    "load_settings": "client.settings",
}

__all__ = [
    "Applied",
    "ApprovalList",
    "Approvals",
    "CallerContext",
    "DomainError",
    "ErrorKind",
    "Export",
    "GoalAnswer",
    "GoalCreated",
    "GoalList",
    "Goals",
    "JobAnswer",
    "JobList",
    "JobStarted",
    "Jobs",
    "Manifest",
    "Manifests",
    "MessageSent",
    "Plan",
    "Preview",
    "Problem",
    "RoutineCreated",
    "RoutinePage",
    "Routines",
    "RunProgress",
    "RunStarted",
    "Runs",
    "Schedules",
    "SessionPage",
    "SessionProgress",
    "Sessions",
    "Settings",
    "System",
    "TicklessClient",
    "load_settings",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
