"""The tool `time_now`.

Owns what it says. Zones are those of the pinned package (`domain.zones`).
"""

from typing import Final

from activities.clock import Clock, utc_now
from activities.tools.builtin.schemas import arguments, as_json, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.errors import DomainError
from domain.tool_specs import Permission, ToolSpec
from domain.zones import load_zone

_SPEC: Final = ToolSpec(
    name="time_now",
    description="The date, the time and the weekday now, in a time zone.",
    parameters=arguments({"timezone": text("IANA name, such as Europe/Berlin.", longest=64)}),
    permission=Permission.ALLOW,
    read_only=True,
    idempotent=True,
    timeout_seconds=10,
)


def time_tools(default_timezone: str, clock: Clock = utc_now) -> list[Tool]:
    """The tool.

    Args:
        default_timezone: The zone of a call that names none.
        clock: What it tells.
    """

    async def now(use: ToolUse) -> str:
        name = str(use.arguments.get("timezone", default_timezone))
        try:
            here = clock().astimezone(load_zone(name))
        except DomainError as error:
            raise ToolFailed(error.message) from None
        return as_json(
            {
                "time": here.isoformat(timespec="seconds"),
                "timezone": name,
                "weekday": here.strftime("%A"),
                "unix": int(here.timestamp()),
            }
        )

    return [FunctionTool(_SPEC, now)]
