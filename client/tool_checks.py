"""What `tickless doctor` says of the sandbox.

Owns that finding, and how the settings become the sandbox's policy. Whether an engine answers is
the sandbox's own question. Source: triggers-and-actions.md §7.
"""

from collections.abc import Mapping
from typing import Final

from activities.tools.sandbox import SandboxPolicy
from activities.tools.sandbox_docker import DockerSandbox
from client.findings import Finding, ok, warning
from client.settings import Settings
from domain.tools import SandboxMode

MEBIBYTE: Final = 1024 * 1024


def sandbox_policy(settings: Settings) -> SandboxPolicy:
    """What the operator grants commands."""
    section = settings.sandbox
    return SandboxPolicy(
        mode=settings.sandbox_mode,
        image=section.image,
        network=section.network,
        memory_bytes=section.memory_mb * MEBIBYTE,
        cpus=section.cpus,
        file_bytes=section.file_mb * MEBIBYTE,
        engine=section.engine,
        python=section.python,
    )


async def examine_sandbox(settings: Settings, environ: Mapping[str, str]) -> Finding:
    """Whether tools that need a sandbox can run here, and how well they are kept apart."""
    match settings.sandbox_mode:
        case SandboxMode.OFF:
            return ok("sandbox", "off: tools that need one do not exist")
        case SandboxMode.HOST:
            return warning(
                "sandbox",
                "host: commands of models run on the worker's machine, as its user",
                "set sandbox_mode to docker, unless this is what you want",
            )
        case SandboxMode.DOCKER:
            readiness = await DockerSandbox(sandbox_policy(settings), environ).ready()
            if readiness.ok:
                return ok("sandbox", f"containers of {settings.sandbox.image}")
            return warning(
                "sandbox",
                readiness.reason,
                "until the engine runs, or sandbox_mode is another one, such tools are refused",
            )
