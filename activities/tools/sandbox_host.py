"""The sandbox mode `host`: commands run on the worker's own machine, limited but not kept apart.

Owns how such a command is started. It sees all that the worker's user may see: that is the
operator's explicit choice. Source: triggers-and-actions.md §7.

Invariants:
    1. A command gets no variable of the worker but the search path: no secret goes along.
    2. It is ended with its group at its end, at its time and at a cancellation.
"""

import os
import sys

from activities.tools import limited_exec
from activities.tools.bounded_process import BoundedProgram, run_bounded
from activities.tools.sandbox import (
    Readiness,
    SandboxCommand,
    SandboxFailed,
    SandboxPolicy,
    SandboxResult,
    plain_environment,
)
from domain.tools import SandboxMode


class HostSandbox:
    """Runs commands as subprocesses."""

    mode = SandboxMode.HOST

    def __init__(self, policy: SandboxPolicy, path: str) -> None:
        """Take the limits.

        Args:
            policy: What the operator grants.
            path: Where commands are looked for, as in the variable PATH; blank: the usual places.
        """
        self._policy = policy
        self._path = path or os.defpath

    async def ready(self) -> Readiness:
        """Always."""
        return Readiness(ok=True)

    async def run(self, command: SandboxCommand) -> SandboxResult:
        """Run a command in the workspace."""
        limits = [str(self._policy.memory_bytes), str(self._policy.file_bytes)]
        program = BoundedProgram(
            arguments=[
                sys.executable, "-I", "-S", limited_exec.__file__, *limits, *command.arguments,
            ],
            environment=plain_environment(str(command.folder), self._path),
            timeout_seconds=command.timeout_seconds,
            folder=command.folder,
            stdin=command.stdin,
        )  # fmt: skip
        try:
            done = await run_bounded(program)
        except OSError as error:
            raise SandboxFailed(f"the command cannot be started: {error.strerror}") from None
        return SandboxResult(done.output, done.exit_code, done.ended)
