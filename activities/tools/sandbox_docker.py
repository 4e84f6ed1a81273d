"""The sandbox mode `docker`: commands run in a container that sees the workspace and nothing else.

Owns the command line of the container, the check that the engine answers, and the end of a
container whose time is over. Source: triggers-and-actions.md §7.

Invariants:
    1. A container has no network unless the policy grants one, no capabilities, no way to more
       rights, a read-only system, and limits of memory, processors and processes.
    2. It ends itself after its time, so it does not outlive a worker that was killed for long.
    3. Without an engine nothing runs; how long an answer about the engine is used has an end.
"""

import asyncio
import csv
import hashlib
import io
import os
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from activities.tools.bounded_process import BoundedProgram, BoundedResult, run_bounded
from activities.tools.sandbox import (
    Readiness,
    SandboxCommand,
    SandboxFailed,
    SandboxPolicy,
    SandboxResult,
    plain_environment,
)
from domain.tools import SandboxMode

WORKSPACE: Final = "/workspace"
CHECK_SECONDS: Final = 5.0
# The specification allows 30 s.
CHECK_AGE_SECONDS: Final = 15.0
KILL_SECONDS: Final = 10.0
# To make and remove the container, on top of the command's own time.
START_SECONDS: Final = 30.0
MAX_PROCESSES: Final = 256
SCRATCH: Final = "/tmp:rw,nosuid,nodev,size=256m,mode=1777"
_CONTAINER_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Answers of `docker run` itself: the engine failed.
_ENGINE_FAILED: Final = 125
_ASK_VERSION: Final = ["version", "--format", "{{.Server.Version}}"]
# Answer of `timeout` when it ended the command.
_TIMED_OUT: Final = frozenset({124, 137})

_log = structlog.stdlib.get_logger("tickless.sandbox")


class DockerSandbox:
    """Runs each command in a container of its own."""

    mode = SandboxMode.DOCKER

    def __init__(self, policy: SandboxPolicy, environment: Mapping[str, str]) -> None:
        """Take the policy.

        Args:
            policy: What the operator grants.
            environment: Of the engine's own command, such as DOCKER_HOST; containers get none of
                it.
        """
        self._policy = policy
        self._environment = environment
        self._checking = asyncio.Lock()
        self._checked_at = float("-inf")
        self._found = Readiness(ok=False, reason="not checked yet")

    async def ready(self) -> Readiness:
        """Whether the engine answers; at most `CHECK_AGE_SECONDS` old."""
        async with self._checking:
            if time.monotonic() - self._checked_at > CHECK_AGE_SECONDS:
                self._found = await self._check()
                self._checked_at = time.monotonic()
            return self._found

    async def run(self, command: SandboxCommand) -> SandboxResult:
        """Run a command in a container; it is removed afterwards."""
        readiness = await self.ready()
        if not readiness.ok:
            raise SandboxFailed(readiness.reason)
        started = time.monotonic()
        finished = False
        try:
            done = await self._engine(
                docker_arguments(self._policy, command, os.getuid(), os.getgid()),
                command.timeout_seconds + START_SECONDS,
                command.stdin,
            )
            finished = not done.ended
        finally:
            if not finished:
                await self._kill(container_name(command.key))
        if done.exit_code == _ENGINE_FAILED:
            said = done.output.decode("utf-8", "replace").strip()[-500:]
            raise SandboxFailed(f"the container could not be started: {said}")
        took = time.monotonic() - started
        if done.exit_code in _TIMED_OUT and took >= command.timeout_seconds:
            ended = f"it was ended after {command.timeout_seconds:g} s"
            return SandboxResult(done.output, None, ended)
        return SandboxResult(done.output, done.exit_code, done.ended)

    async def _check(self) -> Readiness:
        engine = self._policy.engine
        try:
            asked = await self._engine(_ASK_VERSION, CHECK_SECONDS)
        except SandboxFailed as failure:
            said = str(failure)
        else:
            if asked.exit_code == 0:
                return Readiness(ok=True)
            lines = asked.output.decode("utf-8", "replace").strip().splitlines()
            said = asked.ended or (lines[-1][:200] if lines else f"exit code {asked.exit_code}")
        return Readiness(
            ok=False,
            reason=f"the container engine {engine!r} cannot be reached ({said}); start it, or let "
            "an operator choose another sandbox_mode (host runs commands on the worker's machine)",
        )

    async def _engine(
        self, arguments: Sequence[str], timeout_seconds: float, stdin: bytes = b""
    ) -> BoundedResult:
        program = BoundedProgram(
            arguments=[self._policy.engine, *arguments],
            environment=self._environment,
            timeout_seconds=timeout_seconds,
            stdin=stdin,
        )
        try:
            return await run_bounded(program)
        except OSError as error:
            raise SandboxFailed(
                f"the command {self._policy.engine!r} cannot be run: {error.strerror}"
            ) from None

    async def _kill(self, name: str) -> None:
        """End a container whose own client was ended; one that is gone already is no fault."""
        try:
            await self._engine(["kill", name], KILL_SECONDS)
        except SandboxFailed as failure:
            _log.warning("a container may still run", container=name, error=str(failure))


def container_name(key: str) -> str:
    """The name of the container of a call."""
    return f"tickless-{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def docker_arguments(
    policy: SandboxPolicy, command: SandboxCommand, user: int, group: int
) -> list[str]:
    """What the engine's command is called with.

    Args:
        policy: What the operator grants.
        command: What is to run.
        user: Whose files the workspace's are.
        group: The same.
    """
    mounts = [_mount("bind", str(command.folder), WORKSPACE)]
    if command.hidden is not None:
        mounts.append(_mount("tmpfs", None, f"{WORKSPACE}/{command.hidden}"))
    environment = plain_environment("/tmp", _CONTAINER_PATH)
    seconds = f"{command.timeout_seconds:g}"
    return [
        "run", "--rm", "--interactive", "--init",
        "--name", container_name(command.key),
        "--network", "bridge" if policy.network else "none",
        "--memory", str(policy.memory_bytes),
        "--memory-swap", str(policy.memory_bytes),
        "--cpus", f"{policy.cpus:g}",
        "--pids-limit", str(MAX_PROCESSES),
        "--ulimit", "core=0",
        "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges",
        "--read-only",
        "--tmpfs", SCRATCH,
        "--user", f"{user}:{group}",
        "--log-driver", "none",
        *(part for mount in mounts for part in ("--mount", mount)),
        "--workdir", WORKSPACE,
        *(part for name, value in environment.items() for part in ("--env", f"{name}={value}")),
        "--", policy.image,
        "timeout", "-k", "2", seconds, *command.arguments,
    ]  # fmt: skip


def _mount(kind: str, source: str | None, target: str) -> str:
    """A mount as the engine reads it: a line of CSV, so a path may hold commas."""
    fields = [f"type={kind}", *([] if source is None else [f"src={source}"]), f"dst={target}"]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
