"""The answer that a model is writing, as its activity's heartbeats show it.

Owns finding it in the description of a workflow: no worker, no history, no second channel. How a
heartbeat carries it is `activities.live_text`'s. Source: DESIGN §4.
"""

from typing import Final

from pydantic import BaseModel, ConfigDict
from temporalio.client import Client, WorkflowExecutionDescription

from activities.live_text import LiveText

# Tools and deliveries have heartbeats too.
CALL_MODEL: Final = "call_model"


class LiveAnswer(BaseModel):
    """What one call of a model has written so far.

    `call` changes when the call is made anew and the answer begins anew.
    """

    model_config = ConfigDict(frozen=True)

    call: str
    text: LiveText


async def live_answer(
    temporal: Client, description: WorkflowExecutionDescription
) -> LiveAnswer | None:
    """The answer that a workflow waits for; null while no model writes one."""
    for pending in description.raw_description.pending_activities:
        if pending.activity_type.name == CALL_MODEL and pending.heartbeat_details.payloads:
            values = await temporal.data_converter.decode(
                pending.heartbeat_details.payloads[:1], [LiveText]
            )
            if isinstance(values[0], LiveText):
                return LiveAnswer(
                    call=f"{description.run_id}/{pending.activity_id}/{pending.attempt}",
                    text=values[0],
                )
    return None
