"""Where tools with `needs_sandbox` run, and whether they can now.

Owns the interface of a sandbox and the policy of the operator. How the modes do it is
`activities.tools.sandbox_docker`'s and `activities.tools.sandbox_host`'s.
Source: triggers-and-actions.md §7.

Invariant: nothing falls back from one mode to another: a sandbox that is not ready runs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from domain.tools import SandboxMode


@dataclass(frozen=True, slots=True)
class SandboxPolicy:
    """What the operator grants.

    Attributes:
        mode: `docker`, `host` or `off`.
        image: Of the containers; needs `sh`, `timeout` and, for `python_run`, Python.
        network: Whether containers have one; on the host there is no keeping from it.
        memory_bytes: For one command with its children.
        cpus: Processors for one container.
        file_bytes: Longest file that a command may write on the host.
        engine: The container engine's command.
        python: The Python command.
    """

    mode: SandboxMode = SandboxMode.DOCKER
    image: str = "python:3.13-slim"
    network: bool = False
    memory_bytes: int = 1024 * 1024 * 1024
    cpus: float = 1.0
    file_bytes: int = 1024 * 1024 * 1024
    engine: str = "docker"
    python: str = "python3"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a sandbox can run something now; `reason` says why not, and what would help."""

    ok: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SandboxCommand:
    """What is to run.

    Attributes:
        arguments: The program and its arguments.
        folder: The workspace: where it starts, the one folder it may write.
        timeout_seconds: After this it is ended with all it has started.
        key: Names the call.
        stdin: What it reads.
        hidden: A folder in the workspace that it must not see, where a sandbox can hide one.
    """

    arguments: Sequence[str]
    folder: Path
    timeout_seconds: float
    key: str
    stdin: bytes = b""
    hidden: str | None = None


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """How a command ended; no exit code when it was ended from outside, `ended` says why."""

    output: bytes
    exit_code: int | None
    ended: str = ""


class SandboxFailed(Exception):
    """The sandbox could not run the command; the message says why."""


class Sandbox(Protocol):
    """Something that runs commands apart from the worker."""

    @property
    def mode(self) -> SandboxMode:
        """Which of the modes it is."""
        ...

    async def ready(self) -> Readiness:
        """Whether it can run something now; the answer may be up to 30 s old."""
        ...

    async def run(self, command: SandboxCommand) -> SandboxResult:
        """Run a command to its end; a cancellation ends it.

        Raises:
            SandboxFailed: It could not be started.
        """
        ...


class NoSandbox:
    """The mode `off`: there is none, and what needs one does not exist."""

    mode: SandboxMode = SandboxMode.OFF

    async def ready(self) -> Readiness:
        """Never."""
        return Readiness(
            ok=False,
            reason="the sandbox is switched off here (setting sandbox_mode: off); an operator can "
            "set it to docker or host",
        )

    async def run(self, command: SandboxCommand) -> SandboxResult:
        """Refuse."""
        raise SandboxFailed((await self.ready()).reason)


def plain_environment(home: str, path: str) -> Mapping[str, str]:
    """All that a command is told of where it runs: nothing of the worker's own variables."""
    return {"PATH": path, "HOME": home, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
