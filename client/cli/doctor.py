"""`tickless doctor`: look at everything a deployment needs.

Owns the command; the checks are `client.doctor`'s.
"""

import typer

from client.cli.connected import config_file
from client.cli.output import OutputOption, print_json, print_table, wants_json

EXIT_UNHEALTHY = 1


def add_to(app: typer.Typer) -> None:
    """Add the command to the root."""
    app.command()(doctor)


def doctor(context: typer.Context, output: OutputOption = None) -> None:
    """Check server, namespace, workers, store and models; say what to do about each problem."""
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
        from rich.text import Text

        colours = {Health.OK: "green", Health.WARNING: "yellow", Health.FAILED: "red"}
        print_table(
            ("CHECK", "HEALTH", "FOUND", "WHAT TO DO"),
            (
                (
                    finding.check,
                    Text(finding.health, style=colours[finding.health]),
                    finding.found,
                    finding.advice,
                )
                for finding in findings
            ),
        )
    if not healthy:
        raise typer.Exit(EXIT_UNHEALTHY)
