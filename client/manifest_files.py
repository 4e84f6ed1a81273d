"""Manifests in files: YAML or JSON, one or many to a file.

Owns reading and writing them. What a manifest may say is `client.manifest_fields`'.

Invariants:
    1. Only what JSON can say is read: no dates, no octal numbers, no tags of YAML's own; a key that
       stands twice is an error.
    2. What was written is read back as the same.
    3. A problem names its file; one does not hide the next.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import yaml

from client.manifests import Export, Manifest
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.fields import shown

STANDARD_INPUT = "-"
SUFFIXES = (".yaml", ".yml", ".json")
_STANDARD_INPUT = "standard input"
# YAML takes these for line breaks, or drops them, wherever they are not escaped.
_ODD_BREAKS = frozenset("\r\x85\u2028\u2029\ufeff")
_EXPORT_KEYS = ("version", "routines", "goals")
_STANDARD_TAGS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True)
class ManifestFiles:
    """What was found in files: manifests, what is wrong with the rest, and how many goals.

    Goals are in an export for the record; nothing is done with them.
    """

    manifests: list[Manifest]
    problems: list[FieldProblem]
    goals: list[object] = field(default_factory=list[object])


def read_manifests(paths: Iterable[str]) -> ManifestFiles:
    """Read files, and the files of folders with all that is below them.

    Args:
        paths: Files, folders, or `-` for standard input. In a folder, what ends in `.yaml`, `.yml`
            or `.json` counts, save what begins with a dot.
    """
    found = ManifestFiles([], [])
    for path in paths:
        try:
            sources = _sources(path)
        except DomainError as error:
            found.problems.append(_problem("", error))
            continue
        for source in sources:
            try:
                read = _manifests(source, _text(source))
                found.manifests.extend(read.manifests)
                found.goals.extend(read.goals)
            except DomainError as error:
                found.problems.append(_problem(source, error))
    return found


def write_manifests(export: Export, target: str) -> list[str]:
    """Write an export, to a folder (a file each) or to one file; returns the paths.

    Args:
        export: The manifests.
        target: A folder that exists or a path that ends in `/`; else a file, whose suffix `.yaml`
            or `.yml` asks for YAML and any other for JSON.

    Raises:
        DomainError: `invalid_field` on `output` when it cannot be written.
    """
    path = Path(target)
    if path.is_dir() or target.endswith(("/", os.sep)):
        files = {
            path / f"{quote(str(body['id']), safe='')}.yaml": dump_yaml([body])
            for body in export.routines
        }
    elif path.suffix in {".yaml", ".yml"}:
        files = {path: dump_yaml(export.routines)}
    else:
        files = {path: dump_json(export)}
    try:
        for file, text in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(file, text)
    except OSError as error:
        message = f"output: {str(error.filename)!r} cannot be written: {error.strerror}"
        raise DomainError(ErrorKind.INVALID_FIELD, "output", message) from error
    return [str(file) for file in files]


def manifests_beside(files: Sequence[str], target: str) -> list[str]:
    """The manifests in a folder that an export has not written: whoever applies it gets them too.

    Args:
        files: What `write_manifests` has written.
        target: Where to; of a single file nothing is beside.
    """
    folder = Path(target)
    if not folder.is_dir():
        return []
    written = {Path(file) for file in files}
    return [source for source in _files_of(folder) if Path(source) not in written]


def dump_json(export: Export) -> str:
    """The export as one JSON object."""
    return json.dumps(export.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n"


def dump_yaml(bodies: Sequence[Mapping[str, Any]]) -> str:
    """Manifests as YAML, a document each."""
    return yaml.dump_all(
        bodies,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        explicit_start=len(bodies) > 1,
    )


def load_yaml(text: str) -> list[object]:
    """The documents of a YAML text, empty ones left out.

    Raises:
        DomainError: `invalid_field` on `manifest` for what cannot be read.
    """
    try:
        return [one for one in yaml.load_all(text, Loader=_Loader) if one is not None]
    except RecursionError as error:
        raise _invalid("manifest", "is nested too deeply") from error
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
        where = f"line {mark.line + 1} " if mark else ""
        raise _invalid(
            "manifest", f"{where}is not YAML that can be used here: {problem}"
        ) from error


# Reading


def _sources(path: str) -> list[str]:
    """The files of a path; a file is its own, and standard input has a name in words."""
    if path == STANDARD_INPUT:
        return [_STANDARD_INPUT]
    place = Path(path)
    if not place.is_dir():
        return [path]
    files = _files_of(place)
    if not files:
        raise _invalid("file", f"{path!r} holds no manifest ({', '.join(SUFFIXES)})")
    return files


def _files_of(folder: Path) -> list[str]:
    """The manifests of a folder and of those below it, in order."""
    return sorted(
        str(file)
        for file in folder.rglob("*")
        if file.suffix in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _text(source: str) -> str:
    if source == _STANDARD_INPUT:
        return sys.stdin.read()
    try:
        return Path(source).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _invalid("file", "is not UTF-8 text") from error
    except OSError as error:
        raise _invalid("file", f"cannot be read: {error.strerror}") from error


def _manifests(source: str, text: str) -> ManifestFiles:
    documents = _documents(source, text)
    if not documents:
        raise _invalid("manifest", "is empty")
    found = ManifestFiles([], [])
    for number, document in enumerate(documents, 1):
        place = source if len(documents) == 1 else f"{source}, document {number}"
        if not isinstance(document, Mapping):
            raise _invalid("manifest", f"must be an object with id, not {shown(document)}")
        body = cast("Mapping[str, Any]", document)
        if "routines" in body:
            found.manifests.extend(_of_export(place, body))
            found.goals.extend(_listed(body, "goals"))
        else:
            found.manifests.append(Manifest(source=place, body=dict(body)))
    return found


def _documents(source: str, text: str) -> list[object]:
    # YAML reads most of JSON, but not its surrogate pairs.
    if source.endswith(".json") or text.lstrip().startswith(("{", "[")):
        try:
            return [json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)]
        except (ValueError, RecursionError) as error:
            if source.endswith(".json"):
                raise _invalid("manifest", f"is not JSON: {error}") from error
    return load_yaml(text)


def _of_export(source: str, body: Mapping[str, Any]) -> list[Manifest]:
    """The manifests of a whole export."""
    unknown = [key for key in body if key not in _EXPORT_KEYS]
    if unknown:
        raise _invalid(unknown[0], f"is not known; accepted keys: {', '.join(_EXPORT_KEYS)}")
    if body.get("version") != 1:
        raise _invalid("version", f"must be 1, not {shown(body.get('version'))}")
    found: list[Manifest] = []
    for place, item in enumerate(_listed(body, "routines")):
        if not isinstance(item, Mapping):
            raise _invalid(f"routines[{place}]", f"must be an object with id, not {shown(item)}")
        values = dict(cast("Mapping[str, Any]", item))
        found.append(Manifest(source=f"{source}, routines[{place}]", body=values))
    return found


def _listed(body: Mapping[str, Any], key: str) -> list[object]:
    """What an export has under a key; nothing where it has not even the key."""
    items = body.get(key, [])
    if not isinstance(items, list):
        raise _invalid(key, f"must be a list of {key}, not {shown(items)}")
    return cast("list[object]", items)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return values


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def _problem(source: str, error: DomainError) -> FieldProblem:
    message = f"{source}: {error.message}" if source else error.message
    return FieldProblem(kind=error.kind, field=error.field, message=message)


def _invalid(field: str, wrong: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field} {wrong}")


# YAML


def _plain_value(text: str) -> object:
    """What a text without quotes stands for: null, truth, a number of JSON, or itself."""
    if text in {"", "~"}:
        return None
    word = text.lower()
    if word in {"true", "false", "null"}:
        return {"true": True, "false": False, "null": None}[word]
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text


class _Loader(yaml.SafeLoader):
    """YAML with the values of JSON only, so that `12:30`, `010` and `2026-01-01` stay texts."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012 - as PyYAML declares it

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """The value of a node."""
        if node.tag not in _STANDARD_TAGS:
            raise yaml.MarkedYAMLError(
                problem=f"the tag {node.tag!r} is not accepted", problem_mark=node.start_mark
            )
        if isinstance(node, yaml.ScalarNode) and node.style is None:
            return _plain_value(str(node.value))
        # At once, and not when the document is complete: depth is an error, not a crash.
        return super().construct_object(node, deep=True)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are the texts as written."""
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode) or key in values:
                wrong = "a key must be a plain text"
                if key in values:
                    wrong = f"the key {key!r} stands twice"
                raise yaml.MarkedYAMLError(problem=wrong, problem_mark=key_node.start_mark)
            values[key] = self.construct_object(value_node, deep=deep)
        return values


class _Dumper(yaml.SafeDumper):
    """YAML for people: texts of several lines as blocks, the same value written out each time."""

    def ignore_aliases(self, data: object) -> bool:
        """Always: a manifest is read by people."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if not _ODD_BREAKS.isdisjoint(text):
        style = '"'
    elif "\n" in text:
        style = "|"
    elif _plain_value(text) != text:
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


# Writing


def _write(file: Path, text: str) -> None:
    """Replace a file as a whole."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(file)
