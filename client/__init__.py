"""Everything that talks to Temporal from outside: library, command line, settings.

The library's public names are here; importing one loads only what it needs, because the command
line must answer `--help` before anything heavy is loaded.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.context import CallerContext
    from client.routines import RoutineCreated, RoutinePage, Routines
    from client.runs import RunProgress, Runs, RunStarted
    from client.settings import Settings, load_settings
    from client.system import System
    from client.tickless import TicklessClient
    from domain.errors import DomainError, ErrorKind, Problem

_HOMES = {
    "CallerContext": "client.context",
    "DomainError": "domain.errors",
    "ErrorKind": "domain.errors",
    "Problem": "domain.errors",
    "RoutineCreated": "client.routines",
    "RoutinePage": "client.routines",
    "Routines": "client.routines",
    "RunProgress": "client.runs",
    "RunStarted": "client.runs",
    "Runs": "client.runs",
    "Settings": "client.settings",
    "System": "client.system",
    "TicklessClient": "client.tickless",
    "load_settings": "client.settings",
}

__all__ = [
    "CallerContext",
    "DomainError",
    "ErrorKind",
    "Problem",
    "RoutineCreated",
    "RoutinePage",
    "Routines",
    "RunProgress",
    "RunStarted",
    "Runs",
    "Settings",
    "System",
    "TicklessClient",
    "load_settings",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
