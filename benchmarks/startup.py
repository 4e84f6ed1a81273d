"""What starting the command line costs: processor time of `tickless --help`."""

import resource
import subprocess
import sys


def help_cpu_seconds(tries: int = 5) -> float:
    """User and system time of the quickest of some tries; the first compiles."""
    best = float("inf")
    for _ in range(tries):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [sys.executable, "-m", "client", "--help"], check=True, stdout=subprocess.DEVNULL
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = min(best, used)
    return best
