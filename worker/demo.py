"""The demonstration behind `make demo`: a routine fires on the real stack, over a real folder.

Owns the story it tells: create, fire from the Schedule, stream the answer, deliver, show the
record. It uses nothing that a user could not: the same stack as `tickless dev`, the same client as
everybody.
"""

import argparse
import asyncio
import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from client.cli import leave
from client.cli.output import Output
from client.cli.problems import report
from client.cli.run import Follower, show_run
from client.settings import Settings, load_settings
from client.tickless import TicklessClient
from domain.run_view import RunView
from domain.runs import run_id, scheduled_occurrence
from domain.timestamps import format_timestamp
from worker.commands import run_process, stop_signal, until_stopped
from worker.fetching import fetch_progress
from worker.logs import configure_logging
from worker.stack import Stack, running_stack

EXAMPLE = Path(__file__).parent.parent / "examples" / "inbox"
ROUTINE = "heartbeat"
PROMPT = (
    "You look after a small apartment house. Go through the checklist with the mails and notes "
    "below. "
    "Answer with at most five short lines: what needs attention, who waits, until when."
)
FILES = [
    "HEARTBEAT.md",
    "mail/2026-11-19-plumber.txt",
    "mail/2026-11-20-newsletter.txt",
    "notes/week.md",
]
# Enough for five lines; a small model that rambles is stopped here.
MAX_TOKENS = 120
LEAD = timedelta(seconds=3)
SMALL_MODEL = (
    "That was the small model that needs no account; it shows that everything works, but gets "
    "facts wrong.\nFor a better one set OPENAI_API_KEY, or TICKLESS_MODELS__0__BASE_URL to any "
    "OpenAI-compatible\nserver, or TICKLESS_LOCAL_MODEL__GGUF to any GGUF file."
)


def main() -> int:
    """Run the demonstration; 0 when the run ended well."""
    parser = argparse.ArgumentParser(description="Fire a routine on the real stack.")
    parser.add_argument("--keep", action="store_true", help="leave the stack running afterwards")
    keep = parser.parse_args().keep
    configure_logging("warning", "auto")
    folder = Path(tempfile.mkdtemp(prefix="tickless-demo-"))
    try:
        return run_process(_demo(_settings(folder), keep=keep))
    except Exception as error:  # told as the command line tells it
        return report(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(folder: Path) -> Settings:
    """The dev stack's settings on free ports and fresh data, so that nothing else is in the way."""
    environ = dict(os.environ)
    overrides = {
        "TICKLESS_TEMPORAL__DEV__PORT": "0",
        "TICKLESS_TEMPORAL__DEV__UI_PORT": "0",
        "TICKLESS_TEMPORAL__DEV__DB_FILE": str(folder / "temporal.db"),
        "TICKLESS_STORE__FOLDER": str(folder),
        "TICKLESS_STORE__URL": f"sqlite:///{folder / 'ledger.db'}",
        "TICKLESS_WORKSPACE": str(EXAMPLE),
        "TICKLESS_CHANNELS__DEFAULT": "file",
    }
    for name, value in overrides.items():
        environ.setdefault(name, value)
    return load_settings(None, environ).settings


async def _demo(settings: Settings, *, keep: bool) -> int:
    console = Console()
    console.print("[bold]Starting[/] the Temporal server, the workers and the model …")
    async with (
        stop_signal() as stop,
        running_stack(settings, os.environ, fetch_progress()) as stack,
    ):
        stop.started()
        story = asyncio.create_task(_story(stack, console))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait(
            {story, stopped, stack.serving, stack.stopped_server},
            return_when=asyncio.FIRST_COMPLETED,
        )
        if not story.done():
            story.cancel()
            await until_stopped(stop, stack.serving, stack.stopped_server)
            return 130
        view = story.result()
        if keep:
            console.print("\n[bold]The stack keeps running[/]; Ctrl-C stops it. Try:")
            console.print(f"  export TEMPORAL_ADDRESS={stack.settings.temporal.target}")
            console.print(f"  export TICKLESS_TEMPORAL__UI_URL={stack.settings.temporal.ui_url}")
            console.print(f"  .venv/bin/tickless routine get {ROUTINE}")
            await until_stopped(stop, stack.serving, stack.stopped_server)
        stopped.cancel()
    return 0 if view.record.status in {"ok", "attention"} else 1


async def _story(stack: Stack, console: Console) -> RunView:
    tickless = TicklessClient.of_settings(stack.client, stack.settings)
    at = datetime.now(UTC).replace(microsecond=0) + LEAD
    created = await tickless.routines.create(
        {
            "title": "House heartbeat",
            "action": {
                "type": "lightweight",
                "prompt": PROMPT,
                "context_paths": FILES,
                "max_tokens": MAX_TOKENS,
            },
            "schedule": {"run_at": format_timestamp(at)},
            "notify": {"on_success": True, "route": {"receive_id_type": "file"}},
        },
        name=ROUTINE,
    )
    console.print(
        f"[bold]Created[/] routine [cyan]{created.id}[/] over {EXAMPLE.name}/, "
        f"it fires from its Schedule at {at:%H:%M:%S} UTC …"
    )
    run = run_id(ROUTINE, scheduled_occurrence(at))
    view = await _follow(tickless, run)
    if not stack.settings.models:
        console.print(f"\n[yellow]{SMALL_MODEL}[/]")
    console.print("\n[bold]The record[/]")
    ui_url = tickless.runs.ui_url(run)
    show_run(view, ui_url, Output.TABLE, with_text=False)
    return view


async def _follow(tickless: TicklessClient, run: str) -> RunView:
    """Print a run's steps and its reply as it is written."""
    await tickless.runs.wait_until_started(run)
    follower = Follower()
    async for step in tickless.runs.watch(run):
        follower.step(step)
    if follower.view is None:
        raise RuntimeError(f"the run {run} was not seen to its end")
    return follower.view


if __name__ == "__main__":
    leave(main())
