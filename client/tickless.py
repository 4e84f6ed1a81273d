"""The Python client: everything a program can do with Tickless.

Owns the one class that ties the nouns to a connection and a caller. Each noun has a module of its
own (`client.routines`, `client.runs`, `client.system`).

Example:
    async with TicklessClient.open() as tickless:
        created = await tickless.routines.create(
            {"prompt": "Say what is new.", "schedule": {"every_seconds": 3600}}, name="news"
        )
        started = await tickless.runs.trigger("news")
        view = await tickless.runs.wait(started.run_id)
"""

import os
from collections.abc import AsyncGenerator, Collection, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio.client import Client

from activities.emitting import Emitter
from activities.entity_updates import EntityUpdates
from client.approvals import Approvals
from client.audit import Audit
from client.codec import payload_codec
from client.connection import connect
from client.context import CallerContext
from client.costs import Costs
from client.deliveries import Deliveries
from client.events import Events, Messages
from client.goals import GoalDefaults, Goals
from client.jobs import Jobs, job_limits_of
from client.ledger import LedgerCalls
from client.manifests import Manifests
from client.routines import Routines
from client.runs import Runs
from client.schedules import Schedules
from client.sessions import Sessions
from client.settings import Settings, connect_config, load_settings
from client.system import System
from client.tools import Tools
from client.ui_links import UiLinks
from client.watchdog import WatchdogCalls
from client.webhook_secrets import NO_SETTINGS, WebhookSecrets
from domain.admission import JobLimits
from domain.errors import DomainError, ErrorKind


class TicklessClient:
    """Tickless for one caller, over one connection to Temporal.

    Attributes:
        temporal: The Temporal client underneath.
        routines: Calls for routines.
        runs: Calls for runs.
        deliveries: Calls for what was said, and whether it arrived.
        schedules: Calls for schedules that no routine has yet.
        manifests: Calls for routines as files.
        events: Calls for what happens elsewhere.
        messages: Calls for messages that come in.
        sessions: Calls for conversations.
        jobs: Calls for agents that work on their own.
        goals: Calls for the goal of the caller.
        approvals: Calls for what such agents may do only when a person agrees.
        tools: Calls for what models can be allowed to do.
        audit: Calls for what was done.
        costs: Calls for what it has cost.
        system: Calls for the system as a whole.
        watchdog: Calls for the watchdog.
    """

    def __init__(
        self,
        temporal: Client,
        context: CallerContext,
        *,
        default_timezone: str = "UTC",
        retention_days: int = 30,
        ui_url: str = "",
        secrets: WebhookSecrets = NO_SETTINGS,
        job_limits: JobLimits | None = None,
        goal_defaults: GoalDefaults | None = None,
        approvers: Collection[str] = (),
    ) -> None:
        updates = EntityUpdates(temporal)
        self.temporal = temporal
        self.routines = Routines(
            temporal,
            updates,
            context,
            default_timezone=default_timezone,
            retention_days=retention_days,
            secrets=secrets,
        )
        self.runs = Runs(temporal, updates, context, ui_url)
        self.deliveries = Deliveries(temporal, context)
        self.schedules = Schedules(default_timezone=default_timezone)
        emitter = Emitter(temporal)
        self.events = Events(emitter, context, self.runs.ui_url)
        self.messages = Messages(emitter, context, self.runs.ui_url, LedgerCalls(temporal))
        links = UiLinks(ui_url, temporal.namespace)
        self.sessions = Sessions(temporal, updates, context, self.messages, links)
        self.jobs = Jobs(temporal, updates, context, links, job_limits)
        self.goals = Goals(temporal, updates, context, links, goal_defaults)
        self.manifests = Manifests(
            self.routines, self.goals, context, default_timezone=default_timezone
        )
        self.approvals = Approvals(temporal, updates, context, links, approvers)
        self.tools = Tools(temporal)
        self.audit = Audit(temporal, context)
        self.costs = Costs(temporal, context)
        self.system = System(temporal, updates)
        self.watchdog = WatchdogCalls(temporal)

    @classmethod
    def of_settings(
        cls,
        temporal: Client,
        settings: Settings,
        environ: Mapping[str, str] | None = None,
        *,
        operator: bool = True,
    ) -> "TicklessClient":
        """A client with what the settings say about caller, zone, retention and secrets.

        Args:
            temporal: The connection.
            settings: All settings.
            environ: Where references in them are looked up; null is this process's environment.
            operator: Whether the caller may name variables and files as secrets.

        Raises:
            DomainError: `automation_disabled` where the settings switch automation off.
        """
        if not settings.allow_automation:
            raise DomainError(
                ErrorKind.AUTOMATION_DISABLED,
                "allow_automation",
                "allow_automation is false in the settings of this deployment",
            )
        given = settings.context.model_dump(exclude_none=True)
        return cls(
            temporal,
            CallerContext.model_validate(given),
            default_timezone=settings.default_timezone,
            retention_days=settings.deleted_retention_days,
            ui_url=settings.temporal.ui_url,
            job_limits=job_limits_of(settings),
            goal_defaults=GoalDefaults.of_settings(settings),
            approvers=settings.approvers,
            secrets=WebhookSecrets.of_settings(
                settings, os.environ if environ is None else environ, operator=operator
            ),
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Path | None = None) -> AsyncGenerator["TicklessClient"]:
        """Connect as the settings file and the environment say.

        Args:
            config: The settings file; else `TICKLESS_CONFIG`, `./temporal-dev.yaml`, or defaults.

        Raises:
            DomainError: What is wrong with the settings, or `unavailable` without a server.
        """
        settings = load_settings(config, os.environ).settings
        temporal = await connect(
            connect_config(settings.temporal, os.environ), codec=payload_codec(settings, os.environ)
        )
        yield cls.of_settings(temporal, settings)
