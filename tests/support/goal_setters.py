"""Users who set goals: callers of the library and the command line, each with a goal of its own.

Owns the caller that nobody else is, and waiting for what its goal does. A goal with the session key
of a conversation in which nobody has spoken waits for it, and needs no model. Goals as their
workflow knows them are `tests.support.goals`'.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from client.context import CallerContext
from client.goal_reader import GoalAnswer
from client.goals import GoalDefaults, Goals
from client.tickless import TicklessClient
from tests.support.command import Answer, command
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour


@dataclass
class GoalSetter:
    """A user with a goal of its own; `name` is also the mark in its objective."""

    harness: Harness
    name: str
    tickless: TicklessClient
    environ: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def goals(self) -> Goals:
        """The calls of the library."""
        return self.tickless.goals

    @property
    def objective(self) -> str:
        """An objective that is answered by the steps of `works`."""
        return f"Do {self.name}."

    def works(self, *steps: Behaviour) -> None:
        """What the model does for it, one step for each request."""
        self.harness.scripts.on(self.name, *steps)

    async def reaches(
        self, holds: Callable[[GoalAnswer], bool], what: str, seconds: float = 30
    ) -> GoalAnswer:
        """Wait for a goal that is so."""
        found: list[GoalAnswer] = []

        async def now() -> bool:
            found[:] = [await self.goals.get()]
            return holds(found[0])

        await until(now, what, seconds)
        return found[0]

    async def rests(self) -> GoalAnswer:
        """Wait until it rests after a round."""
        return await self.reaches(
            lambda goal: goal.next_run_at is not None and not goal.running, "it rests"
        )

    async def command(self, *arguments: str, stdin: str = "", terminal: bool = False) -> Answer:
        """Run `tickless goal …` as this user."""
        return await command(
            self.harness,
            "goal",
            *arguments,
            stdin=stdin,
            terminal=terminal,
            environ=self.environ,
        )


def goal_setter(harness: Harness, **context: str) -> GoalSetter:
    """A user that nobody else is; named values are the rest of its context."""
    name = harness.name()
    known = {"actor_user_id": name, "receive_id_type": "file", **context}
    defaults = GoalDefaults.of_settings(harness.settings)
    client = TicklessClient(
        harness.client, CallerContext.model_validate(known), goal_defaults=defaults
    )
    environ = {f"TICKLESS_CONTEXT__{key.upper()}": value for key, value in known.items()}
    return GoalSetter(harness, name, client, environ)


def waiting_setter(harness: Harness) -> GoalSetter:
    """A user whose goals wait for a conversation in which nobody speaks."""
    return goal_setter(harness, session_key=f"file:{harness.name()}")
