"""A progress bar while the local model's weights are fetched.

Owns the look; fetching is `worker.local_model`'s. Source: the 98 MB take a while on a slow line.
"""

import sys

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from worker.model_source import Progress as ReportProgress


def fetch_progress() -> ReportProgress:
    """A callback that draws the fetch on standard error, from its first call to its last."""
    bar = Progress(
        TextColumn("Fetching the local model, once"),
        BarColumn(),
        DownloadColumn(),
        console=Console(file=sys.stderr),
    )
    task = bar.add_task("fetch", start=True, total=None)

    def report(done: int, total: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done >= total:
            bar.stop()

    return report
