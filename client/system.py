"""The whole system: pause everything, let it go on, see how it stands.

Owns the library calls for `control`. Source: triggers-and-actions.md §4 (System pause).
"""

from datetime import timedelta

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from ulid import ULID

from activities.control import SystemPause, read_system_pause
from activities.entity_updates import EntityUpdates
from client.connection import translated
from domain.identifiers import CONTROL_ID, ENTITIES_QUEUE
from workflows.control import Control, PauseAll

PATIENCE = timedelta(seconds=10)


class System:
    """Library calls for the system as a whole."""

    def __init__(self, temporal: Client, updates: EntityUpdates) -> None:
        self._temporal = temporal
        self._updates = updates

    async def status(self) -> SystemPause:
        """Whether everything is paused; needs no worker."""
        with translated():
            return await read_system_pause(self._temporal)

    async def pause_all(self, reason: str = "") -> SystemPause:
        """Refuse every new fire and park what is under way, within a second.

        Raises:
            DomainError: `unavailable` when no worker answers.
        """
        return await self._press("pause_all", PauseAll(reason=reason))

    async def resume_all(self) -> SystemPause:
        """Let everything go on."""
        return await self._press("resume_all", None)

    async def _press(self, update: str, request: PauseAll | None) -> SystemPause:
        def start() -> WithStartWorkflowOperation[Control, None]:
            return WithStartWorkflowOperation(
                "Control",
                SystemPause(),
                id=CONTROL_ID,
                task_queue=ENTITIES_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary="The big red button",
            )

        with translated():
            return await self._updates.send(
                CONTROL_ID,
                update,
                request,
                SystemPause,
                update_id=str(ULID()),
                patience=PATIENCE,
                start=start,
            )
