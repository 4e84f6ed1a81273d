"""Which tests of a run in several processes belong together.

Owns the choice of the unit that one process is given at a time. The order of the units is that in
which tests are collected.
"""

from xdist.scheduler import LoadScopeScheduling

# Each of these fills the processor; two at a time would measure each other.
HEAVY = ("test_many_runs.py", "test_triggers_at_once.py")
# Its tests have one stage.
STAGED = ("test_worker_absent.py",)


class StageScheduling(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """A module at a time, for its stage is started once; in `chaos` each test has its own."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.endswith(HEAVY):
            return "heavy"
        if "/chaos/" in module and not module.endswith(STAGED):
            return nodeid
        return module
