"""Replaces itself by a command that Linux kills when the process that started it ends.

A script, run by path: `python -I -S leash.py PARENT_PID COMMAND …`. It asks the kernel for the
signal (PR_SET_PDEATHSIG), which outlives the `exec`, so the command keeps the process id that its
parent knows. Asking in a `preexec_fn` instead would run Python between fork and exec, which can
deadlock in a process that has threads, as every Temporal client does.

Owns nothing else; imports the standard library only, so that it costs 30 ms.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command.

    Args:
        arguments: The parent's process id, then the command and its arguments.
    """
    parent, *command = arguments
    # A kernel or a sandbox that refuses this leaves a command that must be stopped by hand, as on
    # every system that is no Linux; so the answer is not looked at.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit("the process that started this one has ended already")  # before the request
    try:
        os.execv(command[0], command)
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(sys.argv[1:])
