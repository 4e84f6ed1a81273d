"""A worker process: settings to store, models, channels, activities, and a Worker for each queue.

Owns the wiring and its order: what a queue does not need is not opened. Decides nothing.
Source: DESIGN §3 (Queues, rule 3) and §4 (cancellation).

Invariants:
    1. Each queue has its own Worker with its own slots: an entity never waits behind the runs that
       wait for it.
    2. On the way out the workers drain first, then models and store are closed.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

from activities import watchdog as watching
from activities.alerts import AlertActivities
from activities.announcements import Announcer
from activities.audit_reads import AuditReads
from activities.budgets import DailyLimits, DayBudgets
from activities.channels import build_channels
from activities.control import ControlActivities, PauseFlag
from activities.cost_reads import CostReads
from activities.deliveries import DeliveryActivities
from activities.emitting import Emitter
from activities.entities import EntityActivities, RunLimits
from activities.entity_updates import EntityUpdates
from activities.goal_claims import GoalClaimActivities
from activities.goals import GoalActivities
from activities.hooks import HookActivities, load_hook
from activities.job_reads import JobReads
from activities.jobs import JobActivities
from activities.ledger_reads import LedgerActivities
from activities.maintenance import MaintenanceActivities, put_maintenance_schedules
from activities.messenger import Messenger
from activities.models import ModelActivities, named_model
from activities.runs import RunActivities
from activities.schedules import ScheduleActivities
from activities.sessions import SessionActivities, SessionHolds
from activities.slots import SlotActivities
from activities.store import Store, open_store
from activities.tools.dispatch import ToolActivities
from activities.turns import SessionRulesActivities, TurnActivities
from activities.waking import WakingActivities
from activities.watchdog import Watchdog
from activities.workspace import Workspace
from client.jobs import job_limits_of
from client.settings import Settings, resolve_secret, resolve_secrets
from domain.budget import parse_usd
from domain.chat_settings import SessionRules
from domain.errors import DomainError, ErrorKind
from domain.identifiers import (
    ENTITIES_QUEUE,
    LLM_QUEUE,
    RUNS_QUEUE,
    SERVED_QUEUES,
    TOOLS_QUEUE,
    WATCH_QUEUE,
)
from domain.maintenance import MaintenanceJobs
from worker.cancellation import (
    model_heartbeat_throttle,
    pushes_cancellations,
    silent_model_beat,
)
from worker.model_source import Progress, model_chain
from worker.sandbox import workflow_runner
from worker.tool_source import ToolSource, tool_source
from workflows.control import Control
from workflows.goal import GoalWorkflow
from workflows.job import Job
from workflows.ledger import Ledger
from workflows.maintenance import Maintenance
from workflows.routine import RoutineWorkflow
from workflows.routine_run import RoutineRun
from workflows.session import Session
from workflows.slots import Slots

_log = structlog.stdlib.get_logger("tickless.worker")

# What runs when a worker is told to stop may end by itself for this long; then it is cancelled and
# another worker does it again.
DRAIN_TIMEOUT = timedelta(seconds=10)
# Elsewhere heartbeats only prove life.
THROTTLE = timedelta(seconds=5)

Activity = Callable[..., Any]


@dataclass
class _Queue:
    """What one queue serves."""

    workflows: list[type] = field(default_factory=list[type])
    activities: list[Activity] = field(default_factory=list[Activity])


def check_queues(names: Collection[str]) -> list[str]:
    """The queues to serve; all when none is named.

    Args:
        names: Full names, or what follows `tickless-`.

    Raises:
        DomainError: `invalid_field` on `queues`.
    """
    wanted = [name if name in SERVED_QUEUES else f"tickless-{name}" for name in names]
    for given, name in zip(names, wanted, strict=True):
        if name not in SERVED_QUEUES:
            raise DomainError(
                ErrorKind.INVALID_FIELD,
                "queues",
                f"queues must be among {', '.join(SERVED_QUEUES)}, not {given!r}",
                SERVED_QUEUES,
            )
    return list(dict.fromkeys(wanted)) or list(SERVED_QUEUES)


@asynccontextmanager
async def running_workers(
    client: Client,
    settings: Settings,
    environ: Mapping[str, str],
    queues: Sequence[str],
    progress: Progress | None = None,
    jobs: MaintenanceJobs | None = None,
) -> AsyncGenerator["asyncio.Task[None]"]:
    """Serve queues while the context is open, and drain when it closes.

    Args:
        client: Connection to Temporal.
        settings: All settings.
        environ: Where `env:` references are looked up.
        queues: Names as `check_queues` gives them.
        progress: Told how far the local model's weights are fetched.
        jobs: Maintenance jobs of the embedding program; ours are added to them.

    Yields:
        A task that ends only by the fault of a worker.

    Raises:
        DomainError: What cannot be opened: the store, a model, a secret.
    """
    async with AsyncExitStack() as stack:
        # Only calls of models and tools are worth the question; a worker without them takes the
        # safe answer.
        cancelled = not {LLM_QUEUE, TOOLS_QUEUE}.isdisjoint(queues)
        pushed = cancelled and await pushes_cancellations(client)
        served = await _open(
            stack,
            client,
            settings,
            environ,
            queues,
            progress,
            pushed=pushed,
            jobs=jobs or MaintenanceJobs(),
        )
        workers = [_worker(client, settings, name, served[name], pushed=pushed) for name in queues]
        serving = asyncio.create_task(_serve(workers))
        _log.info("serving", queues=list(queues), cancellation="pushed" if pushed else "polled")
        try:
            yield serving
        finally:
            # The entities last: runs that end meanwhile have to tell their routine.
            entities = [worker for worker in workers if worker.task_queue == ENTITIES_QUEUE]
            others = [worker for worker in workers if worker not in entities]
            await asyncio.gather(*(worker.shutdown() for worker in others))
            await asyncio.gather(*(worker.shutdown() for worker in entities))
            await asyncio.gather(serving, return_exceptions=True)


async def _serve(workers: list[Worker]) -> None:
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.run())


async def _open(
    stack: AsyncExitStack,
    client: Client,
    settings: Settings,
    environ: Mapping[str, str],
    queues: Sequence[str],
    progress: Progress | None,
    *,
    pushed: bool,
    jobs: MaintenanceJobs,
) -> dict[str, _Queue]:
    """Open what the queues need and bind their activities to it."""
    served = {name: _Queue() for name in SERVED_QUEUES}
    if ENTITIES_QUEUE in queues:
        served[ENTITIES_QUEUE] = _entities(client, settings)
    if set(queues) == {ENTITIES_QUEUE}:
        return served
    store = await stack.enter_async_context(
        await open_store(resolve_secret(settings.store.url, environ, "store.url"))
    )
    pause = PauseFlag(client)
    messenger = _messenger(stack, settings, environ)
    cooldown = timedelta(seconds=settings.watchdog_cooldown_seconds)
    emitter = Emitter(client)
    alerts = AlertActivities(store, messenger, cooldown, emitter)
    tools: ToolSource | None = None
    if not {LLM_QUEUE, TOOLS_QUEUE, RUNS_QUEUE}.isdisjoint(queues):
        tools = await stack.enter_async_context(
            tool_source(client, settings, environ, store, messenger)
        )
    if RUNS_QUEUE in queues:
        deliveries = DeliveryActivities(store, messenger, emitter, SessionHolds(client))
        ledger = LedgerActivities(store, messenger, emitter)
        turns = TurnActivities(store, messenger, _rules(settings), emitter)
        budgets = DayBudgets(store, _daily_limits(settings))
        served[RUNS_QUEUE] = _runs(client, settings, pause, deliveries, alerts, ledger, budgets)
        served[RUNS_QUEUE].activities += [
            JobActivities(
                store,
                messenger,
                emitter,
                start_notices=settings.start_notices,
                registry=tools.registry if tools else None,
                holds=SessionHolds(client),
            ).put_job,
            *_goal_activities(settings, store, messenger, emitter),
            *JobReads(store).all(),
            *CostReads(store, settings.default_timezone).all(),
            turns.finish_turn,
            turns.record_messages,
            turns.load_texts,
        ]
        if tools is not None:
            reads = AuditReads(store, tools.registry, tools.sandbox)
            served[RUNS_QUEUE].activities += reads.all()
    if tools is not None and TOOLS_QUEUE in queues:
        served[TOOLS_QUEUE] = _tools(tools, store, pause, pushed=pushed)
    if LLM_QUEUE in queues:
        chain = await stack.enter_async_context(model_chain(settings, environ, progress))
        named_model(chain, settings.goal_judge_model or "", "goal_judge_model")
        models = ModelActivities(
            store=store,
            chain=chain,
            prices=settings.prices,
            workspace=Workspace(settings.workspace),
            pause=pause,
            announcer=(Announcer(store, messenger, emitter) if settings.start_notices else None),
            silent_beat=silent_model_beat(pushed=pushed),
            context=settings.context_pruning.config(),
            limits=_daily_limits(settings),
            emitter=emitter,
            catalog=tools.registry.specs if tools else None,
        )
        stack.push_async_callback(models.close)
        served[LLM_QUEUE] = _Queue(activities=[models.call_model])
    if WATCH_QUEUE in queues:
        served[WATCH_QUEUE] = await _watch(client, settings, alerts, jobs)
    return served


def _goal_activities(
    settings: Settings, store: Store, messenger: Messenger, emitter: Emitter
) -> list[Activity]:
    goals = GoalActivities(
        store,
        messenger,
        emitter,
        continue_template=settings.goal_prompt_continue,
        timeout_template=settings.goal_prompt_timeout,
        start_notices=settings.start_notices,
    )
    claims = GoalClaimActivities(store)
    return [goals.put_goal, goals.round_prompt, goals.find_thread, claims.prepare_judgement]


def _tools(tools: ToolSource, store: Store, pause: PauseFlag, *, pushed: bool) -> _Queue:
    dispatch = ToolActivities(
        store=store,
        registry=tools.registry,
        sandbox=tools.sandbox,
        pause=pause,
        silent_beat=silent_model_beat(pushed=pushed),
    )
    return _Queue(activities=dispatch.activities)


async def _watch(
    client: Client, settings: Settings, alerts: AlertActivities, jobs: MaintenanceJobs
) -> _Queue:
    """The maintenance jobs, each with its Schedule."""
    watchdog = Watchdog(
        client,
        alerts,
        grace=timedelta(seconds=settings.watchdog_grace_seconds),
        run_timeout=timedelta(seconds=settings.run_timeout_seconds),
    )
    jobs.register(watching.NAME, watching.INTERVAL, watchdog.work)
    await put_maintenance_schedules(client, jobs)
    return _Queue(workflows=[Maintenance], activities=[MaintenanceActivities(jobs).do_maintenance])


def _entities(client: Client, settings: Settings) -> _Queue:
    """What needs Temporal alone."""
    runs = RunActivities(client)
    return _Queue(
        workflows=[RoutineWorkflow, Session, Slots, Control],
        activities=[
            ScheduleActivities(client, Emitter(client)).put_schedule,
            runs.start_run,
            runs.find_closed,
            SessionActivities(client, EntityUpdates(client)).find_closed_workflows,
            WakingActivities(client).wake_parked,
            SessionRulesActivities(_rules(settings)).session_rules,
        ],
    )


def _runs(
    client: Client,
    settings: Settings,
    pause: PauseFlag,
    deliveries: DeliveryActivities,
    alerts: AlertActivities,
    ledger: LedgerActivities,
    budgets: DayBudgets,
) -> _Queue:
    hook = load_hook(settings.completion_hook)
    limits = RunLimits(
        run_timeout_seconds=settings.run_timeout_seconds,
        job_limits=job_limits_of(settings),
        failure_limit=settings.failure_limit,
        grace_seconds=settings.watchdog_grace_seconds,
        hook=hook is not None,
    )
    entities = EntityActivities(client, EntityUpdates(client), pause, limits, budgets=budgets)
    return _Queue(
        workflows=[RoutineRun, Job, GoalWorkflow, Ledger],
        activities=[
            entities.begin_run,
            entities.claim_grant,
            entities.mark_run,
            entities.end_run,
            SessionActivities(client, EntityUpdates(client)).request_session,
            SlotActivities(client, EntityUpdates(client), settings.max_parallel_jobs).request_slot,
            deliveries.finish_run,
            alerts.send_alert,
            HookActivities(hook).routine_completed,
            ControlActivities(client).system_pause,
            *ledger.all(),
        ],
    )


def _rules(settings: Settings) -> SessionRules:
    timeout, local = settings.run_timeout_seconds, not settings.models
    return SessionRules.of(settings.chat, timeout, local_model=local)


def _daily_limits(settings: Settings) -> DailyLimits:
    routine, deployment = settings.routine_budget_usd_per_day, settings.budget_usd_per_day
    return DailyLimits(
        routine_micros=None if routine is None else parse_usd(routine),
        deployment_micros=None if deployment is None else parse_usd(deployment),
        timezone=settings.default_timezone,
    )


def _messenger(stack: AsyncExitStack, settings: Settings, environ: Mapping[str, str]) -> Messenger:
    specs = {
        name: resolve_secrets(spec, environ, f"channels.{name}")
        for name, spec in settings.channels.by_name.items()
    }
    channels = build_channels(specs, folder=settings.store.folder, console=sys.stdout)
    stack.push_async_callback(channels.close)
    return Messenger(channels, settings.channels.default)


def _worker(
    client: Client, settings: Settings, name: str, queue: _Queue, *, pushed: bool
) -> Worker:
    slots: dict[str, Any] = {}
    throttle = THROTTLE
    if name == LLM_QUEUE:
        throttle = model_heartbeat_throttle(pushed=pushed)
        slots = {
            "max_concurrent_activities": settings.max_concurrent_runs,
            "max_task_queue_activities_per_second": settings.queues.llm.rate_per_second,
        }
    elif name == TOOLS_QUEUE:
        throttle = model_heartbeat_throttle(pushed=pushed)
        slots = {"max_concurrent_activities": settings.queues.tools.activities}
    else:
        sizes = {
            ENTITIES_QUEUE: settings.queues.entities,
            RUNS_QUEUE: settings.queues.runs,
            WATCH_QUEUE: settings.queues.watch,
        }[name]
        slots = {
            "max_concurrent_workflow_tasks": sizes.workflow_tasks,
            "max_concurrent_activities": sizes.activities,
            "max_concurrent_local_activities": sizes.local_activities,
        }
    return Worker(
        client,
        task_queue=name,
        workflows=queue.workflows,
        activities=queue.activities,
        workflow_runner=workflow_runner(sandboxed=settings.temporal.sandbox),
        graceful_shutdown_timeout=DRAIN_TIMEOUT,
        max_heartbeat_throttle_interval=throttle,
        default_heartbeat_throttle_interval=throttle,
        **slots,
    )
