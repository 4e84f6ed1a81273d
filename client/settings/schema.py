"""What the settings accept, asked of their JSON schema.

Owns looking up a setting by its path and saying in words what it takes. So environment variables,
error messages and the command `config schema` follow the one model, and no names are listed twice.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import BaseModel, JsonValue

from client.settings.tree import Step

# One node of a JSON schema; `Any` because this is the JSON edge.
Schema: TypeAlias = Mapping[str, Any]

_NAMES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a text",
    "array": "a list",
    "object": "a mapping",
}
_BOUNDS = (
    ("exclusiveMinimum", ">"),
    ("minimum", ">="),
    ("exclusiveMaximum", "<"),
    ("maximum", "<="),
)


class SettingsSchema:
    """A model's JSON schema with lookups by path."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    @cached_property
    def document(self) -> Schema:
        """The whole schema; made when first asked for, since good settings need none."""
        return self._model.model_json_schema()

    def at(self, path: Iterable[Step], data: JsonValue = None) -> Schema | None:
        """The schema of a setting, null when there is no such setting.

        Args:
            path: Keys and list indexes from the top.
            data: The values so far; they decide which of several kinds of mapping is meant.
        """
        schema: Schema | None = self._resolved(self.document, data)
        for step in path:
            schema = self._below(schema, step) if schema is not None else None
            data = _item(data, step)
            schema = self._resolved(schema, data) if schema is not None else None
        return schema

    def keys(self, schema: Schema) -> list[str]:
        """The keys a mapping is known to take."""
        return list(schema.get("properties", {}))

    def kinds(self, schema: Schema) -> set[str]:
        """The JSON types a setting takes."""
        variants = schema.get("anyOf")
        if variants:
            return {kind for item in variants for kind in self.kinds(self._resolved(item))}
        return {str(schema["type"])} if "type" in schema else set()

    def accepted(self, schema: Schema) -> list[str]:
        """The accepted values where they can be listed."""
        if "enum" in schema:
            return [str(value) for value in schema["enum"]]
        return [str(schema["const"])] if "const" in schema else []

    def expected(self, schema: Schema) -> str:
        """What a setting takes, in words: `an integer > 0`."""
        if variants := schema.get("anyOf"):
            words = [self.expected(self._resolved(variant)) for variant in variants]
            return " or ".join(dict.fromkeys(word for word in words if word != "null"))
        if values := self.accepted(schema):
            return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
        kind = str(schema.get("type", ""))
        bounds = [f"{sign} {_number(schema[key])}" for key, sign in _BOUNDS if key in schema]
        if schema.get("minLength"):
            bounds.append("that is not empty")
        if "pattern" in schema:
            bounds.append(f"that matches {schema['pattern']}")
        return " ".join([_NAMES.get(kind, kind), " and ".join(bounds)]).strip()

    def is_secret(self, schema: Schema) -> bool:
        """Whether a setting, or anything in it, must never be shown."""
        variants: Sequence[Schema] = schema.get("anyOf", ())
        return bool(schema.get("writeOnly")) or any(map(self.is_secret, variants))

    def _below(self, schema: Schema, step: Step) -> Schema | None:
        below: Schema | None = None
        if isinstance(step, int):
            below = schema.get("items")
        elif step in schema.get("properties", {}):
            below = schema["properties"][step]
        elif isinstance(schema.get("additionalProperties"), Mapping):
            below = schema["additionalProperties"]
        return below

    def _resolved(self, schema: Schema, data: JsonValue = None) -> Schema:
        """The schema with its reference followed and one kind of mapping chosen."""
        if "$ref" in schema:
            target = self.document["$defs"][str(schema["$ref"]).rpartition("/")[2]]
            # What stands beside a reference (a default, a description) belongs to this use of it.
            return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        if "oneOf" in schema:
            return self._variant(schema, data)
        return schema

    def _variant(self, schema: Schema, data: JsonValue) -> Schema:
        """The kind of mapping that the data names; before it is named, all kinds in one."""
        tag = schema["discriminator"]["propertyName"]
        chosen = data.get(tag) if isinstance(data, dict) else None
        mapping: Mapping[str, str] = schema["discriminator"]["mapping"]
        if isinstance(chosen, str) and chosen in mapping:
            return self._resolved({"$ref": mapping[chosen]})
        properties: dict[str, Schema] = {}
        for reference in mapping.values():
            properties |= self._resolved({"$ref": reference})["properties"]
        properties[tag] = {"type": "string", "enum": list(mapping)}
        return {"type": "object", "properties": properties, "additionalProperties": False}


def _item(data: JsonValue, step: Step) -> JsonValue:
    if isinstance(data, dict) and isinstance(step, str):
        return data.get(step)
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return data[step]
    return None


def _number(value: float) -> str:
    """A bound without the `.0` that schemas of fractions carry."""
    return str(int(value)) if value == int(value) else str(value)
