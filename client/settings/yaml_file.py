"""The settings file: YAML read into a tree that knows the line of every value.

Owns which YAML is accepted. Source: automation.md §13, DESIGN §8.

Invariants:
    1. A key that stands twice in one mapping is an error, never a silent choice.
    2. Only what JSON can say is read: no dates, no octal or base-60 numbers, no tags of YAML's own.
    3. An error names file and line and never quotes a value, which may be a secret.
"""

import math
import re
from pathlib import Path

import yaml

from client.settings.tree import Node, Scalar, Step, dotted, place
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.fields import raise_first


def _json_scalars() -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """What a plain scalar may stand for, by its first character, as PyYAML wants it."""
    kinds = (
        ("null", r"~|null|", ("~", "n", "")),
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
        ("float", r"[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    )
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, first in kinds:
        rule = (f"tag:yaml.org,2002:{name}", re.compile(rf"(?:{pattern})\Z"))
        for character in first:
            resolvers.setdefault(character, []).append(rule)
    return resolvers


class _Loader(yaml.SafeLoader):
    """YAML with the scalars of JSON only, so that `12:30`, `010` and `2026-01-01` stay texts."""

    yaml_implicit_resolvers = _json_scalars()


def _scalar(tag: str, text: str) -> Scalar:
    """The value of a scalar, whose tag was written there or found by its form."""
    match tag.rpartition(":")[2]:
        case "str":
            return text
        case "null":
            return None
        case "int":
            return int(text)
        case "float" if math.isfinite(number := float(text)):
            return number
        case "bool" if text.lower() in {"true", "false"}:
            return text.lower() == "true"
        case _:
            raise ValueError(tag)


def read_tree(path: Path) -> Node:
    """Read a settings file.

    Args:
        path: The file; its text as given is the name shown in origins and errors.

    Returns:
        A mapping; empty for an empty file.

    Raises:
        DomainError: `invalid_field` on `config` when the file cannot be read, is not YAML or not a
            mapping; on the key when it stands twice. No message quotes a value of the file.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise _file_error(f"{path} cannot be read: {reason}") from error
    reader = _Reader(path)
    try:
        document = _Loader(text).get_single_node()
        tree = reader.node(document, ()) if document else Node({}, f"file {path}:1")
    except (yaml.YAMLError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = error.problem if isinstance(error, yaml.MarkedYAMLError) else "unreadable content"
        # No cause: YAML's own error quotes the line.
        raise _file_error(f"{where} is not YAML that can be used here: {reason}") from None
    if tree.value is None:  # nothing but comments after `---`
        tree.value = {}
    if not isinstance(tree.value, dict):
        raise _file_error(f"{path} must hold a mapping of settings, such as `log:`, at its top")
    raise_first(reader.problems)
    return tree


def _file_error(message: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, "config", message)


class _Reader:
    """Turns YAML's own nodes into ours and notes what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[FieldProblem] = []

    def node(self, node: yaml.Node, path: tuple[Step, ...], line: int | None = None) -> Node:
        """One YAML node; `line` is where its key stands."""
        origin = self._origin(node.start_mark.line if line is None else line)
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, path), origin)
        if isinstance(node, yaml.SequenceNode):
            items = [self.node(item, (*path, i)) for i, item in enumerate(node.value)]
            return Node(items, origin)
        try:
            return Node(_scalar(node.tag, str(node.value)), origin)
        except ValueError:
            raise yaml.MarkedYAMLError(
                problem="a value is not what it is marked as, or a number too long",
                problem_mark=node.start_mark,
            ) from None

    def _mapping(self, node: yaml.MappingNode, path: tuple[Step, ...]) -> dict[str, Node]:
        result: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(
                    problem="a key must be a plain text", problem_mark=key_node.start_mark
                )
            # The text as written: a key `on` or `1` is a name, not a truth value or a number.
            key, line = str(key_node.value), key_node.start_mark.line
            if key in result:
                name = dotted((*path, key))
                first, second = place(result[key].origin), place(self._origin(line))
                message = f"{name} stands twice: at {first} and {second}"
                self.problems.append(
                    FieldProblem(kind=ErrorKind.INVALID_FIELD, field=name, message=message)
                )
            result[key] = self.node(value_node, (*path, key), line)
        return result

    def _origin(self, line: int) -> str:
        return f"file {self._path}:{line + 1}"
