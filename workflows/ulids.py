"""New ids inside of workflows.

Owns making them, from the workflow's own clock and randomness: a replay makes the same ones.
"""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from ulid import ULID


def new_ulid() -> str:
    """A ULID that is the same on replay."""
    milliseconds = int(workflow.time() * 1000)
    return str(ULID(milliseconds.to_bytes(6, "big") + workflow.random().randbytes(10)))
