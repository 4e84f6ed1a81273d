"""The settings: one model with the flat names of the specifications and a section per matter.

Owns the names, defaults and bounds. Where values come from is `client.settings.loading`'s.
Source: automation.md §13, triggers-and-actions.md §10 and §11, DESIGN §8.
"""

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo

from client.settings.channels import ChannelsSettings
from client.settings.pruning import ContextPruningSettings
from client.settings.queues import QueuesSettings
from client.settings.sandbox import SandboxSettings
from client.settings.sections import (
    DEFAULT_ENV_PREFIX,
    ContextSettings,
    Count,
    Days,
    FolderPath,
    GatewaySettings,
    LocalModelSettings,
    LogSettings,
    Name,
    Port,
    Seconds,
    Section,
    StoreSettings,
)
from client.settings.temporal import TemporalSettings
from domain.actions import MAX_ITERATIONS
from domain.budget import PriceTable, parse_usd
from domain.chat_settings import ChatSettings
from domain.errors import DomainError
from domain.goal import parse_deadline
from domain.goal_prompts import CONTINUE_TEMPLATE, TIMEOUT_TEMPLATE, check_template
from domain.mcp_servers import McpServer
from domain.model_chain import ModelSpec
from domain.tool_specs import Permission
from domain.tools import SandboxMode
from domain.zones import require_zone


def _zone(value: str, info: ValidationInfo) -> str:
    try:
        return require_zone(value, str(info.field_name))
    except DomainError as error:
        raise ValueError(error.message) from error


def _deadline(value: str, info: ValidationInfo) -> str:
    try:
        parse_deadline(value)
    except DomainError as error:
        raise ValueError(error.message.replace("deadline_in", str(info.field_name))) from error
    return value


def _template(value: str, info: ValidationInfo) -> str:
    try:
        check_template(value, str(info.field_name))
    except DomainError as error:
        raise ValueError(error.message) from error
    return value


def _usd(value: float, info: ValidationInfo) -> float:
    try:
        parse_usd(value, str(info.field_name))
    except DomainError as error:
        raise ValueError(error.message) from error
    return value


Usd: TypeAlias = Annotated[float, Field(gt=0), AfterValidator(_usd)]


class Settings(Section):
    """All settings, read once at start and handed down as plain values."""

    default_timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="UTC", description="Zone of schedules that name none, and of the budgets' day."
    )
    allow_automation: bool = Field(
        default=True, description="Whether routines and goals may be used here at all."
    )
    run_timeout_seconds: Seconds = Field(
        default=600, description="Working time of a lightweight run; waiting does not count."
    )
    job_timeout_seconds: Seconds = Field(
        default=3600, description="Working time of a full job; waiting does not count."
    )
    job_step_timeout_seconds: Seconds = Field(
        default=300, description="Longest step of a full job: one model call or one tool call."
    )
    # At least twice what a worker of tools may keep a sign of life back for (`worker.process`).
    job_step_heartbeat_seconds: Annotated[int, Field(ge=10, le=300)] = Field(
        default=30, description="Silence after which the worker of a job's step is taken for dead."
    )
    max_parallel_jobs: Count = Field(
        default=5, description="Full jobs that run at a time; more wait their turn."
    )
    max_concurrent_runs: Count = Field(
        default=4, description="Model calls at a time, per worker; more wait in the queue."
    )
    failure_limit: Count = Field(
        default=3, description="Failures in a row after which a routine is paused."
    )
    deleted_retention_days: Days = Field(
        default=30, description="How long a deleted routine can be restored."
    )
    ledger_retention_days: Days = Field(
        default=90, description="How long runs, calls and messages are kept in the ledger."
    )
    start_notices: bool = Field(
        default=True, description="Whether a run says that it begins, where it will answer."
    )
    completion_hook: str = Field(
        default="",
        description="`package.module:function` that is called with each recorded outcome.",
    )
    watchdog_grace_seconds: Seconds = Field(
        default=120, description="Delay after which a due or running routine is reported."
    )
    watchdog_cooldown_seconds: Seconds = Field(
        default=1800, description="Shortest time between two reports of the same routine and kind."
    )
    routine_budget_usd_per_day: Usd | None = Field(
        default=None, description="What one routine may spend a day, in USD; null is no limit."
    )
    budget_usd_per_day: Usd | None = Field(
        default=None,
        description="What the whole deployment may spend a day, in USD; null is no limit.",
    )
    workspace: FolderPath = Field(
        default=Path(".tickless/workspace"),
        validate_default=True,
        description="Folder of the files that routines read, one folder in it per scope.",
    )
    goal_deadline: Annotated[str, AfterValidator(_deadline)] = Field(
        default="48h", description="How long a goal has that names no deadline; at most 2160h."
    )
    fast_loop_limit: Count = Field(
        default=5, description="Short iterations of a goal in a row after which it is paused."
    )
    fast_loop_seconds: Seconds = Field(
        default=180, description="An iteration of a goal that takes as long is not short."
    )
    goal_no_progress_limit: Count = Field(
        default=3,
        description="Iterations of a goal in a row, with the same result and without a tool call, "
        "after which it is paused.",
    )
    goal_max_iterations: Count | None = Field(
        default=None, description="Iterations of a goal after which it is paused; null is no limit."
    )
    goal_max_tokens_total: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Tokens of a goal after which it is paused; null is no limit."
    )
    goal_max_cost_usd: Usd | None = Field(
        default=None, description="Cost of a goal after which it is paused; null is no limit."
    )
    goal_iteration_timeout_seconds: Seconds = Field(
        default=3600, description="Working time of an iteration; waiting does not count."
    )
    goal_iteration_steps: Annotated[int, Field(gt=0, le=MAX_ITERATIONS)] = Field(
        default=25, description="Steps of an iteration after which it has to sum up."
    )
    goal_prompt_continue: Annotated[str, AfterValidator(_template)] = Field(
        default=CONTINUE_TEMPLATE,
        description="What a goal's model is told in each round, with the variables {{objective}}, "
        "{{now}}, {{deadline}}, {{elapsed}}, {{remaining}}; empty is the objective alone.",
    )
    goal_prompt_timeout: Annotated[str, AfterValidator(_template)] = Field(
        default=TIMEOUT_TEMPLATE,
        description="The same for the closing report when the deadline has passed.",
    )
    goal_judge_model: Name | None = Field(
        default=None,
        description="Name of the model that has to agree before a goal is complete; null: none.",
    )
    tool_permissions: dict[Name, Permission] = Field(
        default={},
        description="Permissions of tools by name, each `allow`, `ask` or `deny`: a stricter one, "
        "or `allow` for exactly this tool.",
    )
    approvers: list[Name] = Field(
        default=[],
        description="User ids of those who may decide approvals; empty is everybody in the scope.",
    )
    approval_timeout_seconds: Seconds = Field(
        default=604_800, description="After this time an approval that nobody decided is denied."
    )
    sandbox_mode: SandboxMode = Field(
        default=SandboxMode.DOCKER,
        description="Where tools run that need a sandbox: `docker` in containers, `host` on this "
        "machine without any protection, `off` nowhere.",
    )
    sandbox: SandboxSettings = Field(
        default=SandboxSettings(), description="Limits of commands in the sandbox."
    )
    mcp_servers: list[McpServer] = Field(
        default=[], description="MCP servers whose tools may be called."
    )
    tool_http_allowed_hosts: list[Name] = Field(
        default=[],
        description="Hosts that HTTP tools may reach although their addresses are private, each "
        "`host` or `host:port`.",
    )
    tool_http_ports: list[Port] = Field(
        default=[], description="Ports of HTTP tools on all hosts, besides 80, 443, 8080, 8443."
    )
    openai_model: Name = Field(
        default="gpt-5-mini",
        description="The one model used when `models` is empty and OPENAI_API_KEY or "
        "OPENAI_BASE_URL is set.",
    )
    models: list[ModelSpec] = Field(
        default=[],
        description="The models to call, the preferred one first; the next is tried when one "
        "fails. Empty: `openai_model`, where OPENAI_API_KEY or OPENAI_BASE_URL is set, else the "
        "local model.",
    )
    local_model: LocalModelSettings = Field(
        default=LocalModelSettings(),
        description="The model that runs on this machine when no other is configured.",
    )
    prices: PriceTable = Field(
        default=PriceTable(),
        description="What models cost: `price_version` names the list, `prices` maps "
        "provider/model to micros of USD per million tokens.",
    )
    channels: ChannelsSettings = Field(
        default=ChannelsSettings(),
        description="Where texts are delivered, by name; `default` takes what no channel claims.",
    )
    chat: ChatSettings = Field(
        default=ChatSettings(),
        description="How conversations behave: what waits, what gives way, where answers hang.",
    )
    context_pruning: ContextPruningSettings = Field(
        default=ContextPruningSettings(),
        description="What of a conversation goes into a prompt, and what happens when that is too "
        "long for the model.",
    )
    context: ContextSettings = Field(
        default=ContextSettings(),
        description="Who asks and where answers go, when the caller does not say.",
    )
    webhooks_enabled: bool = Field(
        default=False, description="Whether the gateway takes deliveries at /api/webhooks."
    )
    webhook_rate_per_minute: Count = Field(
        default=60, description="Deliveries a minute, and at once, that one webhook path takes."
    )
    sealing_key: SecretStr | None = Field(
        default=None,
        description="Keys that literal secrets are encrypted with before they are stored, each 32 "
        "random bytes in base64 or hex: the first encrypts, all decrypt. A reference (`env:NAME`, "
        "`file:PATH`). Left out: the file sealing.key in `store.folder`, where there is one.",
    )
    secret_env_prefix: Name = Field(
        default=DEFAULT_ENV_PREFIX,
        description="What the variables are called that secrets of webhooks may name.",
    )
    secrets_dir: FolderPath | None = Field(
        default=None,
        description="Folder of the files that secrets of webhooks may name; null is none.",
    )
    codec_key: SecretStr | None = Field(
        default=None,
        description="Keys that every payload is encrypted with before it reaches Temporal, in the "
        "form of `sealing_key`, or a reference (`env:NAME`, `file:PATH`); null encrypts nothing.",
    )
    temporal: TemporalSettings = Field(
        default=TemporalSettings(), description="The connection to Temporal."
    )
    queues: QueuesSettings = Field(
        default=QueuesSettings(), description="Task queues and the slots of each in one worker."
    )
    store: StoreSettings = Field(default=StoreSettings(), description="Where the ledger is kept.")
    gateway: GatewaySettings = Field(default=GatewaySettings(), description="The HTTP gateway.")
    log: LogSettings = Field(default=LogSettings(), description="What is logged, and how.")
