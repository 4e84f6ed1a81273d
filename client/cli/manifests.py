"""`tickless export` and `tickless apply`: routines as files.

Owns the two commands; the work is `client.manifests`', files are `client.manifest_files`'.
Source: automation.md §15 "Snapshot".
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from client.cli.connected import connected
from client.cli.output import Output, OutputOption, print_json, print_table, say, styled, wants_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from client.manifests import Applied, Export, Plan
    from client.tickless import TicklessClient

_COLOURS = {"create": "green", "patch": "yellow", "restore": "yellow", "delete": "red"}


def add_to(app: typer.Typer) -> None:
    """Add the commands to the root."""
    app.command()(export)
    app.command()(apply)


def export(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Option(
            "--output",
            help="A file (.yaml or .json), or a folder for a YAML file each; else JSON here.",
            metavar="FILE|DIR",
        ),
    ] = None,
    form: Annotated[
        Output | None,
        typer.Option("-o", "--format", help="Form of what is told when files are written."),
    ] = None,
) -> None:
    """Write your routines as manifests for tickless apply.

    The JSON has your goals too, for the record. A path that ends in / is a folder, also when it
    does not exist yet.
    """
    from client.manifest_files import dump_json, manifests_beside, write_manifests

    async def use(tickless: "TicklessClient") -> "Export":
        return await tickless.manifests.export()

    found = connected(context, use)
    if target is None:
        sys.stdout.write(dump_json(found))
        return
    files = write_manifests(found, target)
    others = manifests_beside(files, target)
    if wants_json(form):
        print_json({"files": files, "count": len(found.routines), "others": others})
        return
    say(f"Routines written to {target}: {len(found.routines)}")
    if others:
        say(f"Not of this export, but applied with it: {', '.join(others)}")


def apply(
    context: typer.Context,
    files: Annotated[
        list[str],
        typer.Option(
            "-f",
            "--file",
            help="A file or folder of manifests, or - for standard input; repeatable.",
            metavar="FILE|DIR",
        ),
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete your routines that are in no manifest.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Make your routines what manifests say.

    All manifests are checked first; when one is wrong, nothing is changed. What a manifest leaves
    out is at its default, but a routine that is paused stays so unless status says otherwise.
    """
    from client.manifest_files import read_manifests

    found = read_manifests(files)

    async def use(tickless: "TicklessClient") -> "tuple[Plan, Applied | None]":
        manifests = tickless.manifests
        plan = await manifests.plan(found.manifests, prune=prune, problems=found.problems)
        return plan, None if dry_run else await manifests.apply(plan)

    plan, applied = connected(context, use)
    told = plan if applied is None else applied
    changes = told.model_dump(
        mode="json", exclude={"changes": {"__all__": {"body", "patches"}}}, exclude_none=True
    )["changes"]
    if wants_json(output):
        print_json({"changes": changes, "dry_run": dry_run})
    else:
        _show(changes, dry_run)
    if found.goals:
        say(f"Goals in it that stay as they are: {len(found.goals)}; see `tickless goal`")
    if applied is not None:
        applied.raise_problems()


def _show(changes: "Sequence[dict[str, Any]]", dry_run: bool) -> None:
    print_table(
        ("CHANGE", "ROUTINE", "FIELDS"),
        (
            (
                styled(_verb(change), _COLOURS.get(change["change"], "")),
                change["id"],
                ", ".join(change["fields"]),
            )
            for change in changes
        ),
    )
    if dry_run:
        say("Nothing was changed: this is what would happen.")


def _verb(change: dict[str, Any]) -> str:
    if "problem" in change:
        return f"{change['change']}: failed"
    return f"{change['change']}: accepted" if change.get("accepted") else str(change["change"])
