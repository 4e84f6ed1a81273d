"""Replaces itself by a command with limits of its own: memory, length of files, no core.

A script, run by path: `python -I -S limited_exec.py MEMORY_BYTES FILE_BYTES COMMAND …`. It sets the
limits between fork and exec without running Python there (a `preexec_fn` can deadlock in a process
that has threads). On Linux the command is also killed when the worker that started it ends.

Owns nothing else; imports the standard library only, so that it costs 30 ms.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_OPEN_FILES = 1024


def main(arguments: list[str]) -> None:
    """Become the command.

    Args:
        arguments: The limits, then the command and its arguments.
    """
    memory, file_bytes, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Data, not address space: runtimes reserve far more addresses than they use memory.
    for limit, most in (
        (resource.RLIMIT_DATA, int(memory)),
        (resource.RLIMIT_FSIZE, int(file_bytes)),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (wanted, wanted))
    # This Python ignores them, and what is ignored stays so after an exec.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
