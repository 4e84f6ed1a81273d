"""What can be set, and how file and environment become settings."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from client.context import CallerContext
from client.settings import Loaded, Settings, load_settings
from client.settings.schema import SettingsSchema
from client.settings.sections import ContextSettings
from domain.channels import FileChannel, WebhookChannel
from domain.errors import DomainError, ErrorKind
from domain.goal_prompts import CONTINUE_TEMPLATE, TIMEOUT_TEMPLATE
from domain.model_chain import ToolCallStyle

NOTHING: Mapping[str, str] = {}
SECRET = "sk-0123456789abcdef"


def _load(folder: Path, text: str = "", environ: Mapping[str, str] = NOTHING) -> Loaded:
    path = folder / "temporal-dev.yaml"
    path.write_text(text)
    return load_settings(path, environ)


def _refused(folder: Path, text: str = "", environ: Mapping[str, str] = NOTHING) -> DomainError:
    with pytest.raises(DomainError) as caught:
        _load(folder, text, environ)
    return caught.value


# ---- the sources and their order


def test_the_names_and_defaults_of_the_specification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_settings(None, NOTHING)
    found = loaded.settings
    assert loaded.file is None
    assert set(loaded.origins.values()) == {"default"}
    assert found.default_timezone == "UTC"
    assert found.run_timeout_seconds == 600
    assert found.job_timeout_seconds == 3600
    assert (found.job_step_timeout_seconds, found.job_step_heartbeat_seconds) == (300, 30)
    assert found.max_concurrent_runs == 4
    assert found.failure_limit == 3
    assert found.deleted_retention_days == 30
    assert found.ledger_retention_days == 90
    assert found.watchdog_grace_seconds == 120
    assert found.watchdog_cooldown_seconds == 1800
    assert found.allow_automation is True
    assert (found.goal_deadline, found.fast_loop_limit, found.fast_loop_seconds) == ("48h", 5, 180)
    assert (found.goal_no_progress_limit, found.goal_max_iterations) == (3, None)
    assert found.goal_prompt_continue == CONTINUE_TEMPLATE
    assert found.goal_prompt_timeout == TIMEOUT_TEMPLATE
    assert found.context == ContextSettings()
    assert found.temporal.target == "127.0.0.1:7233"
    assert found.temporal.ui_url == "http://127.0.0.1:8233"


def test_the_file_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("temporal-dev.yaml").write_text("\n\nfailure_limit: 7\n")
    loaded = load_settings(None, NOTHING)
    assert loaded.settings.failure_limit == 7
    assert loaded.origins["failure_limit"] == "file temporal-dev.yaml:3"
    assert loaded.settings.workspace == tmp_path / ".tickless/workspace"


def test_a_named_file_goes_before_the_variable_and_that_before_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for limit, name in enumerate(("temporal-dev.yaml", "named.yaml", "variable.yaml"), start=1):
        Path(name).write_text(f"failure_limit: {limit}")
    environ = {"TICKLESS_CONFIG": "variable.yaml"}
    assert load_settings(Path("named.yaml"), environ).settings.failure_limit == 2
    assert load_settings(None, environ).settings.failure_limit == 3
    assert load_settings(None, {"TICKLESS_CONFIG": ""}).settings.failure_limit == 1


def test_every_value_has_its_origin(tmp_path: Path) -> None:
    text = "failure_limit: 7\nlog:\n  format: json\nmodels:\n  - name: a\n    base_url: http://a\n"
    environ = {"TICKLESS_LOG__LEVEL": "debug", "TICKLESS_MODELS__0__PROVIDER": "mine"}
    loaded = _load(tmp_path, text, environ)
    file = f"file {tmp_path / 'temporal-dev.yaml'}"
    assert loaded.origins["failure_limit"] == f"{file}:1"
    assert loaded.origins["log.format"] == f"{file}:3"
    assert loaded.origins["log.level"] == "env TICKLESS_LOG__LEVEL"
    assert loaded.origins["models.0.name"] == f"{file}:5"
    assert loaded.origins["models.0.base_url"] == f"{file}:6"
    assert loaded.origins["models.0.provider"] == "env TICKLESS_MODELS__0__PROVIDER"
    assert loaded.origins["models.0.tool_calls"] == "default"
    assert loaded.origins["gateway.port"] == "default"
    assert loaded.origins.keys() == loaded.flat().keys()


# ---- the file


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufefffailure_limit: 3"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, text).settings.failure_limit == 3


@pytest.mark.parametrize("chosen_by", ["argument", "variable"])
def test_a_file_that_was_asked_for_must_be_there(tmp_path: Path, chosen_by: str) -> None:
    missing = tmp_path / "none.yaml"
    path = missing if chosen_by == "argument" else None
    environ = {} if path else {"TICKLESS_CONFIG": str(missing)}
    with pytest.raises(DomainError, match=r"there is no file .*none\.yaml") as caught:
        load_settings(path, environ)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, "config")
    assert ("TICKLESS_CONFIG" in caught.value.message) == (chosen_by == "variable")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DomainError, match="cannot be read: Is a directory"):
        load_settings(tmp_path, NOTHING)
    (tmp_path / "latin.yaml").write_bytes(b"openai_model: caf\xe9")
    with pytest.raises(DomainError, match="cannot be read: not UTF-8 text"):
        load_settings(tmp_path / "latin.yaml", NOTHING)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"log: {{\napi_key: {SECRET}: x", ":2 is not YAML"),
        (f"a: [{SECRET}", ":1 is not YAML"),
        ("a: 1\n---\nb: 2", ":2 is not YAML"),
        ("failure_limit: !!int x", "not what it is marked as"),
        ("allow_automation: !!bool x", "not what it is marked as"),
        ("store: !private {folder: x}\nlog: !x y", ":2 is not YAML"),
        ("failure_limit: " + "9" * 5000, "too long"),
        ("budget_usd_per_day: 1e999", ":1 is not YAML"),
        ("? [1, 2]\n: 3", "a key must be a plain text"),
        ("log: &again\n  level: *again", "is not YAML"),
        ("[" * 1000, "is not YAML"),
        ("log: \x07", "unreadable content"),
        ("- 1", "must hold a mapping"),
        (SECRET, "must hold a mapping"),
    ],
)
def test_a_file_that_is_no_mapping_in_yaml(tmp_path: Path, text: str, message: str) -> None:
    error = _refused(tmp_path, text)
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "config")
    assert message in error.message
    assert "temporal-dev.yaml" in error.message
    assert SECRET not in error.message


def test_a_key_that_stands_twice(tmp_path: Path) -> None:
    error = _refused(tmp_path, "failure_limit: 1\nlog:\n  level: info\n  level: debug\nlog: {}\n")
    assert error.kind == ErrorKind.INVALID_FIELD
    assert [problem.field for problem in error.errors] == ["log.level", "log"]
    assert "temporal-dev.yaml:3 and " in error.message
    assert error.message.endswith("temporal-dev.yaml:4")


@pytest.mark.parametrize(
    "text", ["12:30", "010", "0x1F", "1_000", "2026-01-01", "yes", "off", ".5", ".nan", "=", "<<"]
)
def test_only_what_json_can_say_is_more_than_text(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, f"openai_model: {text}").settings.openai_model == text


@pytest.mark.parametrize(("text", "value"), [("1e2", 100.0), ("+3", 3), ("2.", 2)])
def test_numbers(tmp_path: Path, text: str, value: float) -> None:
    assert _load(tmp_path, f"budget_usd_per_day: {text}").settings.budget_usd_per_day == value


def test_anchors_are_followed(tmp_path: Path) -> None:
    text = "temporal: {namespace: &name tickless-test}\nopenai_model: *name"
    assert _load(tmp_path, text).settings.openai_model == "tickless-test"


# ---- wrong values


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ('run_timeout_seconds: "60"', "run_timeout_seconds", ["an integer", "'60'"]),
        ("run_timeout_seconds: true", "run_timeout_seconds", ["an integer", "not true"]),
        ("run_timeout_seconds: 1.5", "run_timeout_seconds", ["an integer", "1.5"]),
        ("run_timeout_seconds: 60.0", "run_timeout_seconds", ["an integer", "60.0"]),
        ("run_timeout_seconds:", "run_timeout_seconds", ["an integer", "not null"]),
        ("run_timeout_seconds: [1]", "run_timeout_seconds", ["an integer", "a list"]),
        ("run_timeout_seconds: 99999999", "run_timeout_seconds", ["<= 31536000"]),
        ("allow_automation: yes", "allow_automation", ["true or false", "'yes'"]),
        ("allow_automation: 1", "allow_automation", ["true or false", "1"]),
        ("default_timezone: Mars/Base", "default_timezone", ["IANA", "Mars/Base"]),
        ("default_timezone: europe/berlin", "default_timezone", ["'Europe/Berlin'?"]),
        ("goal_deadline: 2161h", "goal_deadline", ["48h", "2160h", "'2161h'"]),
        ('goal_prompt_continue: "{{goal}}"', "goal_prompt_continue", ["'goal'", "now, deadline"]),
        ('goal_prompt_timeout: "{{objective"', "goal_prompt_timeout", ["braces", "remaining"]),
        ("budget_usd_per_day: 0", "budget_usd_per_day", ["> 0"]),
        ("budget_usd_per_day: 0.0000001", "budget_usd_per_day", ["USD", "6 decimals"]),
        ("budget_usd_per_day: 1000001", "budget_usd_per_day", ["USD", "1000000"]),
        ('openai_model: ""', "openai_model", ["not empty"]),
        ('openai_model: "\\ud800"', "openai_model", ["Unicode"]),
        ("workspace: 3", "workspace", ["a text"]),
        ("context:", "context", ["a mapping", "null"]),
        ("context: {actor_user_id: 7}", "context.actor_user_id", ["a text", "7"]),
        ("models: {}", "models", ["a list", "a mapping"]),
        ("models: [gpt]", "models.0", ["a mapping", "'gpt'"]),
        ("models: [{name: a, tool_calls: x}]", "models.0.tool_calls", ["native, constrained"]),
        ("models: [{name: a, temperature: 3}]", "models.0.temperature", [">= 0 and <= 2"]),
        ("log: {level: LOUD}", "log.level", ["debug, info, warning, error", "'LOUD'"]),
        ("gateway: {port: 65536}", "gateway.port", ["<= 65535"]),
        ("channels: {default: ops}", "channels", ["default", "console, file", "'ops'"]),
        ("channels: {ops: {type: pigeon}}", "channels.ops.type", ["console, file, webhook"]),
        ("channels: {file: {type: file, path: 1}}", "channels.file.path", ["a text"]),
        (
            "prices: {prices: {a/b: {input_per_mtok: -1, output_per_mtok: 1}}}",
            "prices.prices.a/b.input_per_mtok",
            [">= 0"],
        ),
        ("temporal: {address: http://x}", "temporal.address", ["host:port", "http://x"]),
        ("temporal: {address: localhost}", "temporal.address", ["host:port"]),
        ("temporal: {dev: {ip: localhost}}", "temporal.dev.ip", ["IP address"]),
        ("temporal: {dev: {retention_days: 6}}", "temporal.dev.retention_days", [">= 7"]),
        (
            "temporal: {dev: {dynamic_config: {a: [1]}}}",
            "temporal.dev.dynamic_config.a",
            ["true or false or an integer", "a list"],
        ),
        ("job_step_heartbeat_seconds: 9", "job_step_heartbeat_seconds", [">= 10"]),
        ("job_step_heartbeat_seconds: 301", "job_step_heartbeat_seconds", ["<= 300"]),
        ("queues: {llm: {rate_per_second: 0}}", "queues.llm.rate_per_second", ["> 0"]),
        ("queues: {llm: {name: tickless}}", "queues", ["different names"]),
    ],
)
def test_a_wrong_value_names_key_place_and_what_is_accepted(
    tmp_path: Path, text: str, field: str, words: list[str]
) -> None:
    error = _refused(tmp_path, f"\n{text}")
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, field)
    for word in [field, *words, "temporal-dev.yaml:2)"]:
        assert word in error.message
    assert not error.errors


def _numbers_above_zero() -> Iterator[str]:
    schema = SettingsSchema(Settings)
    for name in Settings.model_fields:
        node = schema.at([name]) or {}
        if schema.kinds(node) & {"integer", "number"}:
            yield name
    for queue in ("entities", "runs", "watch"):
        for slots in ("workflow_tasks", "activities", "local_activities"):
            yield f"queues.{queue}.{slots}"
    yield from ("queues.tools.activities", "local_model.context_tokens", "local_model.threads")


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("key", list(_numbers_above_zero()))
def test_numbers_must_be_above_zero(tmp_path: Path, key: str, value: int) -> None:
    variable = "TICKLESS_" + key.replace(".", "__").upper()
    error = _refused(tmp_path, environ={variable: str(value)})
    assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, key)
    assert re.search(r">( 0|= [1-9])", error.message)
    assert f"not {value}" in error.message
    assert variable in error.message


@pytest.mark.parametrize(
    ("text", "field", "near", "accepted"),
    [
        ("run_timout_seconds: 60", "run_timout_seconds", "run_timeout_seconds", "log"),
        ("log: {levl: info}", "log.levl", "level", "format"),
        ("temporal: {dev: {prot: 1}}", "temporal.dev.prot", "port", "ui_port"),
        ("models: [{name: a, base-url: x}]", "models.0.base-url", "base_url", "api_key"),
        ("channels: {file: {type: file, pth: x}}", "channels.file.pth", "path", "type"),
        ("zzz: 1", "zzz", "", "store"),
        ("on: 1", "on", "", "log"),
        ("1: 1", "1", "", "log"),
    ],
)
def test_an_unknown_key_names_the_nearest_and_all(
    tmp_path: Path, text: str, field: str, near: str, accepted: str
) -> None:
    error = _refused(tmp_path, f"\n\n{text}")
    assert (error.kind, error.field) == (ErrorKind.UNKNOWN_FIELD, field)
    assert f"{field} is not a setting" in error.message
    assert "temporal-dev.yaml:3)" in error.message
    assert (f"did you mean {near!r}?" in error.message) == bool(near)
    assert accepted in error.accepted
    assert accepted in error.message


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("models: [{provider: x}]", "models.0.name", ["a text"]),
        ("channels: {ops: {url: http://x}}", "channels.ops.type", ["console, file, webhook"]),
        ("channels: {ops: {type: webhook, url: http://x}}", "channels.ops.secret", ["a text"]),
        (
            "prices: {prices: {a/b: {input_per_mtok: 1}}}",
            "prices.prices.a/b.output_per_mtok",
            ["an integer >= 0"],
        ),
    ],
)
def test_a_required_value_that_is_absent(
    tmp_path: Path, text: str, field: str, words: list[str]
) -> None:
    error = _refused(tmp_path, text)
    assert (error.kind, error.field) == (ErrorKind.MISSING_FIELD, field)
    for word in [f"{field} is required", *words, "temporal-dev.yaml:1)"]:
        assert word in error.message


def test_all_problems_are_listed_in_the_order_of_the_model(tmp_path: Path) -> None:
    text = "zzz: 1\nlog: {level: x}\nmodels: [{}]\nrun_timeout_seconds: 0\nstore: {folder: 1}"
    environ = {"TICKLESS_MODELS__9__NAME": "x", "TICKLESS_FAILURE_LIMIT": "many"}
    error = _refused(tmp_path, text, environ)
    assert [(problem.kind.value, problem.field) for problem in error.errors] == [
        ("invalid_field", "models"),
        ("invalid_field", "run_timeout_seconds"),
        ("invalid_field", "failure_limit"),
        ("missing_field", "models.0.name"),
        ("invalid_field", "store.folder"),
        ("invalid_field", "log.level"),
        ("unknown_field", "zzz"),
    ]
    assert error.message == error.errors[0].message
    assert error.to_problem().errors == error.errors


@pytest.mark.parametrize(
    ("text", "environ"),
    [
        (f"models: [{{name: a, api_key: [{SECRET}]}}]", {}),
        ("models: [{name: a, api_key: 123456789}]", {}),
        ("", {"TICKLESS_MODELS": f'[{{"api_key": "{SECRET}"'}),
        ("", {"TICKLESS_MODELS": f'["{SECRET}"] [NaN]'}),
        ("", {"TICKLESS_TEMPORAL__GRPC_META": SECRET}),
        (f"channels: {{ops: {{type: webhook, secret: {SECRET}, url: 1}}}}", {}),
        (f"store: {{url: [{SECRET}]}}", {}),
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str, environ: dict[str, str]) -> None:
    error = _refused(tmp_path, text, environ)
    shown = json.dumps(error.to_problem().model_dump(mode="json"))
    assert SECRET not in shown
    assert "123456789" not in shown
    # What a traceback would print of its causes.
    assert error.__cause__ is None
    assert error.__context__ is None


# ---- variables


def test_variables_of_every_shape(tmp_path: Path) -> None:
    text = "run_timeout_seconds: 5\nchannels: {Ops: {type: file, path: a}}\nmodels: [{name: a}]\n"
    loaded = _load(
        tmp_path,
        text,
        {
            "TICKLESS_RUN_TIMEOUT_SECONDS": " 900 ",
            "tickless_failure_limit": "+9",
            "TICKLESS_ALLOW_AUTOMATION": "OFF",
            "TICKLESS_BUDGET_USD_PER_DAY": "2.5",
            "TICKLESS_TEMPORAL__DEV__UI_PORT": "",
            "TICKLESS_TEMPORAL__DEV__DYNAMIC_CONFIG__history.maxInFlightUpdates": "10",
            "TICKLESS_TEMPORAL__DEV__DYNAMIC_CONFIG__frontend.Some": "1.5",
            "TICKLESS_TEMPORAL__DEV__DYNAMIC_CONFIG__frontend.Other": "true",
            "TICKLESS_TEMPORAL__DEV__DYNAMIC_CONFIG__frontend.Text": "steady",
            "TICKLESS_CHANNELS__OPS__PATH": "b",
            "TICKLESS_CHANNELS__HOOK__TYPE": "webhook",
            "TICKLESS_CHANNELS__HOOK__URL": "https://example.org",
            "TICKLESS_CHANNELS__HOOK__SECRET": "env:HOOK",
            "TICKLESS_CHANNELS__DEFAULT": "hook",
            "TICKLESS_MODELS__0__TOOL_CALLS": "constrained",
            "TICKLESS_MODELS__1": '{"name": "b", "temperature": 0.5}',
            "TICKLESS_CONTEXT": '{"actor_user_id": "ann"}',
            "TICKLESS_CONTEXT__RECEIVE_ID_TYPE": "console",
            "TICKLESS_PRICES": '{"prices": {"a/b": {"input_per_mtok": 1, "output_per_mtok": 2}}}',
            "OTHER_RUN_TIMEOUT_SECONDS": "1",
        },
    )
    found = loaded.settings
    assert (found.run_timeout_seconds, found.failure_limit) == (900, 9)
    assert found.allow_automation is False
    assert found.budget_usd_per_day == 2.5
    assert found.temporal.dev.ui_port is None
    flags = found.temporal.dev.dynamic_config
    assert flags["history.maxInFlightUpdates"] == 10
    assert flags["history.timerProcessorMaxPollRPS"] == 2000
    assert [flags[f"frontend.{key}"] for key in ("Some", "Other", "Text")] == [1.5, True, "steady"]
    assert found.channels.by_name["Ops"] == FileChannel(path="b")
    hook = found.channels.by_name["hook"]
    assert isinstance(hook, WebhookChannel)
    assert hook.secret.get_secret_value() == "env:HOOK"
    assert found.channels.default == "hook"
    assert [model.name for model in found.models] == ["a", "b"]
    assert found.models[0].tool_calls == ToolCallStyle.CONSTRAINED
    assert found.models[1].temperature == 0.5
    assert (found.context.actor_user_id, found.context.receive_id_type) == ("ann", "console")
    assert found.prices.price("a", "b") is not None
    assert loaded.origins["context.actor_user_id"] == "env TICKLESS_CONTEXT"
    assert loaded.origins["failure_limit"] == "env tickless_failure_limit"
    assert loaded.origins["temporal.dev.dynamic_config.history.timerProcessorMaxPollRPS"] == (
        "default"
    )


def test_a_model_needs_no_more_than_its_address(tmp_path: Path) -> None:
    environ = {"TICKLESS_MODELS__0__BASE_URL": "http://127.0.0.1:8000/v1"}
    (model,) = _load(tmp_path, environ=environ).settings.models
    assert (model.name, model.base_url) == ("default", "http://127.0.0.1:8000/v1")


def test_a_variable_replaces_an_item_of_the_files_list(tmp_path: Path) -> None:
    text = "models: [{name: a, provider: x}, {name: b}]"
    loaded = _load(tmp_path, text, {"TICKLESS_MODELS__0": '{"name": "c"}'})
    assert [model.key for model in loaded.settings.models] == ["openai/c", "openai/b"]
    assert loaded.origins["models.0.name"] == "env TICKLESS_MODELS__0"


def test_an_index_into_what_is_no_list(tmp_path: Path) -> None:
    error = _refused(tmp_path, "models: {}", {"TICKLESS_MODELS__0__NAME": "a"})
    assert "models must be a list, not a mapping" in error.message


def test_the_items_of_a_list_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    environ = {f"TICKLESS_MODELS__{index}__NAME": f"m{index}" for index in reversed(range(12))}
    found = _load(tmp_path, environ=environ).settings.models
    assert [model.name for model in found] == [f"m{index}" for index in range(12)]


@pytest.mark.parametrize(
    ("variable", "value", "kind", "field", "words"),
    [
        ("TICKLESS_RUN_TIMEOUT_SECONDS", "1.5", "invalid_field", "run_timeout_seconds", ["'1.5'"]),
        ("TICKLESS_RUN_TIMEOUT_SECONDS", "", "invalid_field", "run_timeout_seconds", ["''"]),
        ("TICKLESS_FAILURE_LIMIT", "9" * 5000, "invalid_field", "failure_limit", ["an integer"]),
        ("TICKLESS_ALLOW_AUTOMATION", "maybe", "invalid_field", "allow_automation", ["'maybe'"]),
        ("TICKLESS_BUDGET_USD_PER_DAY", "inf", "invalid_field", "budget_usd_per_day", ["'inf'"]),
        ("TICKLESS_MODELS", "gpt", "invalid_field", "models", ["a list as JSON", "character 0"]),
        ("TICKLESS_MODELS", "[" * 100000, "invalid_field", "models", ["a list as JSON"]),
        ("TICKLESS_MODELS", "[NaN]", "invalid_field", "models", ["a list as JSON"]),
        ("TICKLESS_MODELS", "{}", "invalid_field", "models", ["a list, not a mapping"]),
        ("TICKLESS_MODELS__1__NAME", "x", "invalid_field", "models", ["0 to 0", "'1'"]),
        ("TICKLESS_MODELS__A__NAME", "x", "invalid_field", "models", ["list", "'A'"]),
        ("TICKLESS_LOG", "debug", "invalid_field", "log", ["a mapping as JSON"]),
        ("TICKLESS_GATEWAY__PORT__X", "1", "invalid_field", "gateway.port", ["a mapping"]),
        ("TICKLESS_LOG__LEVEL__X", "1", "invalid_field", "log.level", ["a mapping"]),
        (
            "TICKLESS_RUN_TIMOUT_SECONDS",
            "1",
            "unknown_field",
            "run_timout_seconds",
            ["run_timeout"],
        ),
        ("TICKLESS_TEMPORAL__DEV__PROT", "1", "unknown_field", "temporal.dev.prot", ["'port'?"]),
        ("TICKLESS_", "1", "unknown_field", "", ["is not a setting"]),
        ("TICKLESS_DEFAULT_TIMEZONE", "\udcff", "invalid_field", "default_timezone", ["Unicode"]),
    ],
)
def test_a_bad_variable_is_named(
    tmp_path: Path, variable: str, value: str, kind: str, field: str, words: list[str]
) -> None:
    error = _refused(tmp_path, environ={variable: value})
    assert (error.kind.value, error.field) == (kind, field)
    for word in [*words, f"({variable})"]:
        assert word in error.message
    # Names of all settings, at most.
    assert len(error.message) < 1300


# ---- models


def test_openai_is_used_where_its_key_is_there(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://proxy/v1"}
    loaded = _load(tmp_path, "openai_model: gpt-x\n", environ)
    (model,) = loaded.settings.models
    assert (model.key, model.base_url) == ("openai/gpt-x", "http://proxy/v1")
    assert model.api_key == SecretStr("env:OPENAI_API_KEY")
    assert loaded.origins["models.0.api_key"] == "env OPENAI_API_KEY"
    assert loaded.origins["models.0.base_url"] == "env OPENAI_BASE_URL"
    assert loaded.origins["models.0.name"].endswith("temporal-dev.yaml:1")


def test_openai_behind_an_address_without_a_key(tmp_path: Path) -> None:
    (model,) = _load(tmp_path, environ={"OPENAI_BASE_URL": "http://proxy/v1"}).settings.models
    assert (model.name, model.api_key) == ("gpt-5-mini", None)
    assert _load(tmp_path, environ={"OPENAI_API_KEY": ""}).settings.models == []


def test_configured_models_take_from_openai_what_they_leave_out(tmp_path: Path) -> None:
    text = "models: [{name: a}, {name: b, base_url: http://b, api_key: env:B}]"
    environ = {"OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://proxy/v1"}
    first, second = _load(tmp_path, text, environ).settings.models
    assert (first.base_url, first.api_key) == ("http://proxy/v1", SecretStr("env:OPENAI_API_KEY"))
    assert (second.base_url, second.api_key) == ("http://b", SecretStr("env:B"))


# ---- paths


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    text = (
        "workspace: here\nlocal_model: {gguf: ~/models/m.gguf, cache_folder: /var/cache/x}\n"
        "store: {folder: ../data}\ntemporal: {dev: {db_file: null}}"
    )
    found = _load(tmp_path, text, {"HOME": "/home/ann", "TEMPORAL_PROFILE": ""}).settings
    assert found.workspace == tmp_path / "here"
    assert found.local_model.gguf == Path("/home/ann/models/m.gguf")
    assert found.local_model.cache_folder == Path("/var/cache/x")
    assert found.store.folder == tmp_path / "../data"
    assert found.store.url.get_secret_value() == (f"sqlite:///{tmp_path}/../data/tickless.db")
    assert found.temporal.dev.db_file is None
    assert found.gateway.tokens_file == tmp_path / ".tickless/tokens.json"


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("sqlite+pysqlite:///a/b.db", "sqlite+pysqlite:///{}/a/b.db"),
        ("sqlite:///b.db?mode=ro", "sqlite:///{}/b.db?mode=ro"),
        ("sqlite+pysqlite:////a/b.db", "sqlite+pysqlite:////a/b.db"),
        ("sqlite+pysqlite:///:memory:", "sqlite+pysqlite:///:memory:"),
        ("sqlite+pysqlite://", "sqlite+pysqlite://"),
        ("postgresql+psycopg://h/d", "postgresql+psycopg://h/d"),
        ("env:DATABASE_URL", "env:DATABASE_URL"),
    ],
)
def test_the_database_of_a_relative_address_too(tmp_path: Path, url: str, absolute: str) -> None:
    found = _load(tmp_path, f"store: {{url: '{url}'}}").settings
    assert found.store.url.get_secret_value() == absolute.format(tmp_path)


# ---- fuzz

_KEYS = [*Loaded(Settings(), {}, None).flat(), "models.0.name", "channels.x.url", "zz.0"]
_VALUES = st.text(max_size=12) | st.sampled_from(["0", "-1", "true", "{}", "[]", "null", "1e9"])


_FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def _is_told(folder: Path, text: str, environ: Mapping[str, str]) -> bool:
    """Whether there are settings with origins, or a problem in words; anything else raises."""
    try:
        loaded = _load(folder, text, environ)
    except DomainError as error:
        return bool(error.message)
    return loaded.origins.keys() == loaded.flat().keys()


@_FEW
@given(st.dictionaries(st.sampled_from(_KEYS), _VALUES, max_size=4))
def test_whatever_the_variables_hold_there_are_settings_or_problems(
    tmp_path: Path, chosen: dict[str, str]
) -> None:
    environ = {"TICKLESS_" + key.replace(".", "__").upper(): value for key, value in chosen.items()}
    assert _is_told(tmp_path, "", environ)


_YAML: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([key.split(".")[0] for key in _KEYS]), inner, max_size=3)
    ),
    max_leaves=6,
)


@_FEW
@given(_YAML)
def test_whatever_the_file_holds_there_are_settings_or_problems(
    tmp_path: Path, value: object
) -> None:
    assert _is_told(tmp_path, json.dumps(value), NOTHING)


def test_the_context_of_the_settings_is_the_callers_context() -> None:
    assert ContextSettings.model_fields.keys() == CallerContext.model_fields.keys()
