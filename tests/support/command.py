"""The command line in this process: what it prints, and the exit code it would end with.

For commands that only talk to a server; `tickless dev` and `tickless worker` take over signals and
logging, so they need processes of their own (`worker_process`). One command at a time: each takes
the process's standard streams and environment.
"""

import asyncio
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from client.cli import execute
from tests.support.harness import Harness
from tests.support.worker_process import command_environment


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result, of a command that went well."""
        assert (self.code, self.err) == (0, ""), self
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """The problem object, of a command that printed nothing else."""
        assert self.out == "", self
        return json.loads(self.err)


class Screen(io.StringIO):
    """Output that may claim to be a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


async def command(
    harness: Harness,
    *arguments: str,
    stdin: str = "",
    terminal: bool = False,
    out: Screen | None = None,
    environ: Mapping[str, str] | None = None,
) -> Answer:
    """Run one command line as a user of a harness would.

    Args:
        harness: Whose server and settings it uses.
        arguments: What follows `tickless`.
        stdin: Standard input.
        terminal: Whether it writes to a terminal.
        out: Takes standard output, for a test that reads along.
        environ: Further variables.
    """
    variables = {**command_environment(harness), **(environ or {})}
    return await run_command(variables, *arguments, stdin=stdin, terminal=terminal, out=out)


async def run_command(
    environ: Mapping[str, str],
    *arguments: str,
    stdin: str = "",
    terminal: bool = False,
    out: Screen | None = None,
) -> Answer:
    """The same, with nothing but these variables."""
    plain = {"TERM": "dumb", "COLUMNS": "120"}
    screen, errors = out or Screen(terminal=terminal), Screen(terminal=terminal)

    def run() -> int:
        with (
            patch.dict(os.environ, {**plain, **environ}, clear=True),
            patch.multiple(sys, stdin=io.StringIO(stdin), stdout=screen, stderr=errors),
        ):
            return execute(arguments)

    # A command runs an event loop of its own, beside the one that the harness's workers need.
    code = await asyncio.to_thread(run)
    return Answer(code, screen.getvalue(), errors.getvalue())
