"""Settings section `sandbox`: what a command in the sandbox may have.

Owns names and bounds. Which sandbox there is, setting `sandbox_mode` says; what is done with the
limits is `activities.tools.sandbox`'s. Source: triggers-and-actions.md §7.
"""

from typing import Annotated

from pydantic import Field

from client.settings.sections import Count, Name, Section


class SandboxSettings(Section):
    """Limits of commands, and the containers they run in with `sandbox_mode: docker`."""

    image: Name = Field(
        default="python:3.13-slim",
        description="Image of the containers; has to hold `sh`, `timeout` and `python3`. Pull it "
        "beforehand, or the first call pays for it.",
    )
    network: bool = Field(
        default=False, description="Whether containers have a network; on the host all do."
    )
    memory_mb: Count = Field(default=1024, description="Memory of one command, in MiB.")
    cpus: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Processors of one container."
    )
    file_mb: Count = Field(
        default=1024, description="Longest file that a command may write on the host, in MiB."
    )
    engine: Name = Field(default="docker", description="Command of the container engine.")
    python: Name = Field(default="python3", description="Python in the sandbox.")
