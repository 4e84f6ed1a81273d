"""The tools `shell` and `python_run`: commands in the sandbox.

Owns their arguments and how the end of a command is shown. Where a command runs and what it may is
the sandbox's. Source: triggers-and-actions.md §7.
"""

from typing import Final

from activities.tools.builtin.file_refusals import in_workspace
from activities.tools.builtin.schemas import Schema, arguments, integer, text
from activities.tools.function_tool import FunctionTool
from activities.tools.sandbox import Sandbox, SandboxCommand, SandboxFailed, SandboxResult
from activities.tools.tool import Tool, ToolFailed, ToolUse
from activities.workspace import SCOPES_FOLDER, Workspace
from domain.tool_specs import Permission, ToolSpec

MAX_SECONDS: Final = 600
DEFAULT_SECONDS: Final = 60
MAX_SCRIPT_CHARS: Final = 50_000
# Longer than any command and the start of its container: the command's own time ends it first.
TOOL_SECONDS: Final = MAX_SECONDS + 60

_WHERE: Final = (
    "It runs in the workspace folder, which it may change; the output is cut in the middle when it "
    "is long. There may be no network."
)
_TIME: Final[Schema] = integer("Seconds after which it is ended.", 1, MAX_SECONDS, DEFAULT_SECONDS)


def _spec(name: str, description: str, key: str, what: str) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=f"{description} {_WHERE}",
        parameters=arguments(
            {key: text(what, longest=MAX_SCRIPT_CHARS), "timeout_seconds": _TIME}, [key]
        ),
        permission=Permission.ASK,
        needs_sandbox=True,
        timeout_seconds=TOOL_SECONDS,
    )


_SHELL: Final = _spec("shell", "Run a command with sh.", "command", "The command.")
_PYTHON: Final = _spec("python_run", "Run a Python program.", "code", "The program.")


def command_tools(workspace: Workspace, sandbox: Sandbox, python: str = "python3") -> list[Tool]:
    """The tools.

    Args:
        workspace: The workspaces of all scopes.
        sandbox: Where they run.
        python: The Python command there.
    """

    async def shell(use: ToolUse) -> str:
        return await run(use, ["sh", "-c", str(use.arguments["command"])], b"")

    async def python_run(use: ToolUse) -> str:
        code = str(use.arguments["code"]).encode("utf-8", "replace")
        return await run(use, [python, "-"], code)

    async def run(use: ToolUse, parts: list[str], stdin: bytes) -> str:
        scope = use.caller.scope.text

        def place() -> SandboxCommand:
            folder = workspace.place(scope, ".").folder
            folder.mkdir(parents=True, exist_ok=True)
            others = workspace.shares_root(scope) and (folder / SCOPES_FOLDER).is_dir()
            seconds = int(use.arguments.get("timeout_seconds", DEFAULT_SECONDS))
            hidden = SCOPES_FOLDER if others else None
            return SandboxCommand(parts, folder, seconds, use.key, stdin, hidden)

        try:
            return _shown(await sandbox.run(await in_workspace(".", place)))
        except SandboxFailed as failure:
            raise ToolFailed(str(failure)) from None

    return [FunctionTool(_SHELL, shell), FunctionTool(_PYTHON, python_run)]


def _shown(result: SandboxResult) -> str:
    said = result.output.decode("utf-8", "replace")
    if result.ended:
        return f"[{result.ended}]\n{said}"
    if result.exit_code:
        return f"[exit code {result.exit_code}]\n{said}"
    return said or "[no output]"
