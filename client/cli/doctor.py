"""`tickless doctor`: look at everything a deployment needs.

Owns the command; the checks are `client.doctor`'s.
"""

from typing import TYPE_CHECKING

import typer

from client.cli.connected import config_file
from client.cli.output import OutputOption, print_json, print_table, styled, wants_json

if TYPE_CHECKING:
    from client.doctor import Finding

EXIT_UNHEALTHY = 1

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(doctor)


def doctor(context: typer.Context, output: OutputOption = None) -> None:
    """Check server, workers, store and models; say what to do.

    Exit code 1 when something is failed; a warning leaves things working.
    """
    import asyncio
    import os

    from client.doctor import Health, examine
    from client.settings import load_settings

    settings = load_settings(config_file(context), os.environ).settings
    findings = asyncio.run(examine(settings, os.environ))
    healthy = all(finding.health != Health.FAILED for finding in findings)
    if wants_json(output):
        checks = [finding.model_dump(mode="json") for finding in findings]
        print_json({"healthy": healthy, "target": settings.temporal.target, "checks": checks})
    else:
        print_table(("HEALTH", "CHECK", "FOUND"), map(_row, findings))
    if not healthy:
        raise typer.Exit(EXIT_UNHEALTHY)


def _row(finding: "Finding") -> tuple[object, ...]:
    found = finding.found + (f"\n→ {finding.advice}" if finding.advice else "")
    return styled(finding.health, _COLOURS[finding.health]), finding.check, found
