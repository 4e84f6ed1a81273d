"""`temporal-dev.yaml` as it is shipped: every setting, every default."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from client.settings import Settings, load_settings
from client.settings.schema import SettingsSchema
from domain.channels import WebhookChannel
from worker.temporal_server import DEV_FLAGS

FILE = Path(__file__).parents[2] / "temporal-dev.yaml"
TEXT = FILE.read_text(encoding="utf-8")
# The two values in which the dev stack differs from the defaults.
DEV_CONTEXT = {"actor_user_id": "me", "receive_id_type": "console"}


def _uncommented() -> str:
    """The file with everything behind `#` taken in; prose has one blank after its `#`."""
    filled = re.sub(r"(\[\]|\{\})(\n#)(?! \S)", r"\2", TEXT)
    return re.sub(r"^#(?! \S)", "", filled, flags=re.MULTILINE)


def _properties(
    schema: Mapping[str, Any], definitions: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key that the settings know, with its schema, at any depth."""
    if "$ref" in schema:
        yield from _properties(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for key, value in schema.get("properties", {}).items():
        yield key, value
        yield from _properties(value, definitions)
    for below in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(below, dict):
            yield from _properties(below, definitions)
    for variant in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
        yield from _properties(variant, definitions)


def _all_properties() -> list[tuple[str, Mapping[str, Any]]]:
    document = SettingsSchema(Settings).document
    return list(_properties(document, document["$defs"]))


@pytest.mark.parametrize("text", [TEXT, _uncommented()], ids=["as shipped", "uncommented"])
def test_its_values_are_the_defaults(tmp_path: Path, text: str) -> None:
    shipped = tmp_path / "temporal-dev.yaml"
    shipped.write_text(text)
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    found = load_settings(shipped, {}).settings.model_dump()
    defaults = load_settings(empty, {}).settings.model_dump()
    assert {key: value for key, value in found["context"].items() if value} == DEV_CONTEXT
    del found["context"], defaults["context"]
    if text != TEXT:
        # The examples behind `#`: one model, one price, one channel, one MCP server.
        examples: dict[str, Any] = {
            "models": 0, "prices": "prices", "channels": "ops", "mcp_servers": 0,
            "tool_permissions": "shell",
        }  # fmt: skip
        for section, example in examples.items():
            assert found.pop(section)[example]
            del defaults[section]
    assert found == defaults


def test_the_examples_are_the_defaults_of_their_kinds_too(tmp_path: Path) -> None:
    path = tmp_path / "temporal-dev.yaml"
    path.write_text(_uncommented())
    found = load_settings(path, {}).settings
    (model,) = found.models
    assert model.model_dump(exclude_defaults=True).keys() == {"name", "base_url", "api_key"}
    ops = found.channels.by_name["ops"]
    assert isinstance(ops, WebhookChannel)
    assert ops.model_dump(exclude_defaults=True).keys() == {"url", "secret"}
    (clock,) = found.mcp_servers
    assert clock.model_dump(exclude_defaults=True).keys() == {"name", "command", "args"}


def test_it_mentions_every_setting() -> None:
    keys = {key for key, _ in _all_properties()}
    assert len(keys) > 60
    missing = {key for key in keys if not re.search(rf"^#?[ -]*{key}:", TEXT, re.MULTILINE)}
    assert not missing


def test_every_setting_is_described() -> None:
    definitions = SettingsSchema(Settings).document["$defs"]
    # What a channel's `type` and the parts of a price mean is said where their mapping stands.
    elsewhere = {"prices", "price_version", *definitions["Price"]["properties"]}
    for key, value in _all_properties():
        if "const" in value or key in elsewhere:
            continue
        # Pydantic leaves out a description that is the same as that of the section.
        section = definitions.get(str(value.get("$ref")).rpartition("/")[2], {})
        assert value.get("description") or section.get("description"), key


def test_the_flags_of_the_server_are_those_it_is_started_with_elsewhere() -> None:
    assert load_settings(FILE, {}).settings.temporal.dev.dynamic_config == dict(DEV_FLAGS)


def test_a_line_fits_the_screen() -> None:
    assert max(map(len, TEXT.splitlines())) <= 100
