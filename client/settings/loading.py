"""Loading: settings from a file and the environment, with the origin of every value.

Owns the order of the sources. This package is the only reader of the settings file and of the
environment; the environment itself is an argument. Source: automation.md §13, DESIGN §2 and §8.

Invariants:
    1. Order, strongest first: `TICKLESS_…` variables, Temporal's own configuration (for section
       `temporal`, see there), the settings file, OpenAI's variables where `models` says nothing,
       defaults.
    2. Either all settings are good, or nothing is returned and all problems are listed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, JsonValue, ValidationError

from client.settings.environment import CONFIG_VARIABLE, apply_environment
from client.settings.model import Settings
from client.settings.models import complete_models
from client.settings.problems import problems_of
from client.settings.schema import SettingsSchema
from client.settings.secrets import without_password
from client.settings.temporal_profile import apply_temporal_configuration
from client.settings.tree import DEFAULT_ORIGIN, Node, dotted, place
from client.settings.yaml_file import read_tree
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.fields import is_unicode, raise_first

DEFAULT_FILE = Path("temporal-dev.yaml")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and where each of them came from.

    Attributes:
        settings: The effective values.
        origins: By dotted path: `default`, `file temporal-dev.yaml:12`, `env TICKLESS_LOG__LEVEL`
            or `profile default of Temporal`.
        file: The settings file; null when there is none.
    """

    settings: Settings
    origins: dict[str, str]
    file: Path | None

    def values(self) -> JsonValue:
        """The effective values as they may be shown: secrets and passwords in addresses masked."""
        return _shown(self.settings).plain()

    def flat(self) -> dict[str, JsonValue]:
        """The same by dotted path, as in `origins`."""
        return {dotted(path): leaf.plain() for path, leaf in _shown(self.settings).leaves()}


def load_settings(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read all settings.

    Args:
        path: The settings file; null takes the one that TICKLESS_CONFIG names, else
            `temporal-dev.yaml` in the current folder if it is there.
        environ: The environment.

    Returns:
        The settings, their relative paths made absolute from the settings file's folder (without
        a file: the current one). Secrets are not resolved.

    Raises:
        DomainError: The first thing that is wrong, all of them in `errors`: `invalid_field`,
            `missing_field` or `unknown_field` on the setting; `invalid_field` on `config` for the
            file.
    """
    file = _settings_file(path, environ)
    tree = read_tree(file) if file else Node({})
    schema = SettingsSchema(Settings)
    apply_temporal_configuration(tree, environ)
    problems = apply_environment(tree, environ, schema)
    complete_models(tree, environ)
    _complete_sections(tree, Settings)
    _require_unicode(tree)
    settings, found = _checked(tree, schema, _folders(file, environ))
    raise_first([*problems, *found])
    return Loaded(settings, _origins(tree, settings), file)


def _checked(
    tree: Node, schema: SettingsSchema, folders: Mapping[str, Path]
) -> tuple[Settings, list[FieldProblem]]:
    """The settings and what is wrong with them; where anything is, the settings are the defaults.

    Returned, not raised: the traceback of an error raised here would show pydantic's own error,
    which quotes values.
    """
    try:
        return Settings.model_validate_json(
            json.dumps(tree.plain()), strict=True, context=folders
        ), []
    except ValidationError as error:
        return Settings(), problems_of(error, tree, schema)


def _require_unicode(tree: Node) -> None:
    """Refuse half surrogate pairs, which the JSON that settings are checked as cannot hold."""
    raise_first(
        [
            FieldProblem(
                kind=ErrorKind.INVALID_FIELD,
                field=dotted(path),
                message=f"{dotted(path)} must be Unicode text ({place(leaf.origin)})",
            )
            for path, leaf in tree.leaves()
            if isinstance(leaf.value, str) and not is_unicode(leaf.value)
        ]
    )


def _settings_file(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file to read: one that was asked for must be there, the default one need not."""
    chosen = environ.get(CONFIG_VARIABLE)
    asked = path or (Path(chosen) if chosen else None)
    if asked is None:
        return DEFAULT_FILE if DEFAULT_FILE.exists() else None
    if not asked.exists():
        named = "" if path else f" ({CONFIG_VARIABLE})"
        raise DomainError(
            ErrorKind.INVALID_FIELD, "config", f"config: there is no file {str(asked)!r}{named}"
        )
    return asked


def _folders(file: Path | None, environ: Mapping[str, str]) -> dict[str, Path]:
    """Where relative paths and `~/` start."""
    folders = {"folder": file.absolute().parent if file else Path.cwd()}
    if home := environ.get("HOME"):
        folders["home"] = Path(home)
    return folders


def _complete_sections(tree: Node, model: type[BaseModel]) -> None:
    """Put an empty mapping for every section that is absent, so that its defaults are checked too.

    Pydantic takes the default of a whole section as it is, with its relative paths.
    """
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            section = tree.child(name)
            if section is None:
                section = Node({})
                tree.put([name], section)
            if isinstance(section.value, dict):
                _complete_sections(section, field.annotation)


def _origins(tree: Node, settings: Settings) -> dict[str, str]:
    return {
        dotted(path): found.origin if (found := tree.at(path)) else DEFAULT_ORIGIN
        for path, _ in _shown(settings).leaves()
    }


def _shown(settings: Settings) -> Node:
    """The settings as JSON values; pydantic masks what it knows to be secret."""
    tree = Node.of(settings.model_dump(mode="json"), DEFAULT_ORIGIN)
    for path, leaf in list(tree.leaves()):
        if isinstance(leaf.value, str):
            tree.put(path, Node(without_password(leaf.value)))
    return tree
