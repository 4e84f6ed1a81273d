"""The one table of timeouts, heartbeats and retries, each with its reason.

Owns every duration that a workflow gives to an activity. Numbers that a user may set are settings
and come with the request instead (the run timeout, the heartbeat of a job's step, a channel's
waits).
"""

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

from activities.failures import EMPTY_REPLY

# An entity answers in 7 ms; after 2 s its worker is busy or gone, and a local activity that goes on
# waiting costs its run three events every 8 s (DESIGN §3 rule 2).
LOCAL_START_TO_CLOSE: Final = timedelta(seconds=2)
LOCAL_SCHEDULE_TO_CLOSE: Final = timedelta(seconds=3)
LOCAL_RETRY: Final = RetryPolicy(maximum_attempts=2, initial_interval=timedelta(milliseconds=50))

# The same call as a normal activity: no limit, because an entity without a worker will have one
# again.
ENTITY_START_TO_CLOSE: Final = timedelta(seconds=30)
ENTITY_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=10)
)

# A model call heartbeats while it streams and every few seconds while it waits; a worker that died
# is noticed after this time and the call goes to another one.
MODEL_HEARTBEAT: Final = timedelta(seconds=10)
# On top of what remains of the run timeout, which the activity enforces itself and can explain.
MODEL_GRACE: Final = timedelta(seconds=15)
# Waits come with the errors (Retry-After, 2 s doubling to 30 s), attempts are counted by the
# activity per kind of error; lost workers are the only thing this policy counts.
MODEL_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=2),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=10,
    # A call that outlived its start-to-close has spent the run's time; again would spend it twice.
    non_retryable_error_types=["TemporalTimeout:StartToClose"],
)

# A tool call heartbeats every few seconds; a worker that died is noticed after this time. What was
# lost is found out by the next attempt (`activities.tools.dispatch`), so repeating is safe.
TOOL_HEARTBEAT: Final = timedelta(seconds=10)
# On top of what the caller has left, which the activity keeps itself and can explain.
TOOL_GRACE: Final = timedelta(seconds=15)
TOOL_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    # Three workers more than the first; then somebody should look.
    maximum_attempts=4,
    non_retryable_error_types=["TemporalTimeout:StartToClose"],
)
# What is offered is looked up in milliseconds; a dead sandbox engine takes seconds to be sure of.
OFFER_START_TO_CLOSE: Final = timedelta(seconds=30)
# A user waits for an answer: where nobody serves tools, it is given without.
CHAT_OFFER_SCHEDULE_TO_CLOSE: Final = timedelta(seconds=5)

# Sending is short; five refusals spread over 15 minutes are counted in the outbox, not here.
DELIVERY_START_TO_CLOSE: Final = timedelta(minutes=2)
DELIVERY_HEARTBEAT: Final = timedelta(seconds=15)
DELIVERY_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)
)

# A job takes seconds; the next tick does again what a worker that died has left.
MAINTENANCE_START_TO_CLOSE: Final = timedelta(minutes=5)
MAINTENANCE_RETRY: Final = RetryPolicy(maximum_attempts=3)

# A question to the ledger takes milliseconds; to send a text again may take as long as a notice.
LEDGER_START_TO_CLOSE: Final = timedelta(seconds=20)
LEDGER_RETRY: Final = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=4)
# Whoever asks for a repair looks at the row before asking again.
LEDGER_ONCE: Final = RetryPolicy(maximum_attempts=1)

# The hook is the operator's code; a worker that dies in it may call it again, its faults are not
# retried.
HOOK_START_TO_CLOSE: Final = timedelta(minutes=1)
HOOK_RETRY: Final = RetryPolicy(maximum_attempts=2)

# A Schedule is put in milliseconds; the routine cannot go on without it, so it is tried for ever.
SCHEDULE_START_TO_CLOSE: Final = timedelta(seconds=10)
SCHEDULE_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)
)

# How much longer than its run timeout a run may hold its place before somebody looks (automation
# §8).
LEASE_GRACE: Final = timedelta(seconds=60)

# A job sees for itself when a step is lost, be it a call of the model or of a tool, so that it can
# say so: nothing is repeated unseen but a fault of the store.
JOB_STEP_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=10,
    # An empty answer is the loop's matter too: it says something before it asks again.
    non_retryable_error_types=[
        "TemporalTimeout:StartToClose",
        "TemporalTimeout:Heartbeat",
        EMPTY_REPLY,
    ],
)
# On top of a step's own limit, which the activity keeps itself and can explain.
JOB_STEP_GRACE: Final = timedelta(seconds=15)
