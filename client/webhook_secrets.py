"""The secrets of webhooks, between who gives them and who checks a delivery with them.

Owns sealing every literal of a body or patch before it leaves the process, which references may be
made and by whom, and resolving them. The forms of a secret are `domain.webhook_secrets`', the
cipher is `client.sealing`'s. Source: triggers-and-actions.md §3.

Invariants:
    1. A literal leaves the process sealed or not at all, also in a request that will be refused.
    2. A sealed text is never taken from a caller: it would be a secret that somebody else set.
    3. No error and no log line holds a secret.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

from client.sealing import KEY_FILE, Keyring, NotOpened, Sealing, create_key_file, parse_keys
from client.settings import Settings, resolve_secret
from client.settings.sections import DEFAULT_ENV_PREFIX
from domain.errors import DomainError, ErrorKind
from domain.trigger_models import EnvSecret, FileSecret, SealedSecret, Secret, TriggerType
from domain.triggers import validate_trigger
from domain.webhook_secrets import read_secret

FIELD: Final = "trigger.secret"
MAX_FILE_BYTES: Final = 4096

# Stands for a secret that is kept while the rest of a trigger is checked.
_PLACEHOLDER: Final = {"env": "KEPT"}


@dataclass(frozen=True)
class ResolvedSecrets:
    """The secrets that could be had, and in words which could not."""

    texts: Sequence[str]
    unreachable: Sequence[str]


@dataclass(frozen=True)
class WebhookSecrets:
    """Seals, checks and resolves by the settings of a deployment.

    Attributes:
        sealing: Seals literals.
        variables: Where `env` references are looked up.
        env_prefix: What the names in them begin with.
        folder: Where the files of `file` references lie; null for none.
        operator: Whether the caller may make references.
    """

    sealing: Sealing
    variables: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    env_prefix: str = DEFAULT_ENV_PREFIX
    folder: Path | None = None
    operator: bool = True

    @classmethod
    def of_settings(
        cls, settings: Settings, environ: Mapping[str, str], *, operator: bool = True
    ) -> "WebhookSecrets":
        """What the settings say; the keys are read when the first one is needed."""
        return cls(
            sealing=Sealing(lambda: _keys(settings, environ)),
            variables=environ,
            env_prefix=settings.secret_env_prefix,
            folder=settings.secrets_dir,
            operator=operator,
        )

    # On the way in

    def sealed_body(self, body: Mapping[str, object], owner: str) -> dict[str, Any]:
        """A body or patch as it may reach Temporal.

        Args:
            body: What the caller gave.
            owner: The routine's id.

        Raises:
            DomainError: What is wrong with its webhook, or `permission_denied`.
        """
        given = _trigger_of(body)
        if "secret" not in given:
            _check_webhook(given)
            return dict(body)
        _check_whole(given)
        secret = _each(given["secret"], lambda one: self._stored(one, owner))
        return {**body, "trigger": {**given, "secret": secret}}

    def comparable_body(self, body: Mapping[str, object], owner: str) -> dict[str, Any]:
        """A body that is equal for equal bodies, and tells nothing of its literals."""
        given = _trigger_of(body)
        if "secret" not in given:
            return dict(body)

        def hidden(one: object) -> object:
            if not isinstance(one, str) or not one.strip():
                return one
            return {"fingerprint": self.sealing.fingerprint(one.strip(), owner)}

        return {**body, "trigger": {**given, "secret": _each(given["secret"], hidden)}}

    def _stored(self, given: object, owner: str) -> object:
        if _is_hidden(given):
            return given
        secret = read_secret(given, FIELD)
        if isinstance(secret, str):
            return {"sealed": self.sealing.seal(secret, owner)}
        if isinstance(secret, SealedSecret):
            raise _refused("is sealed; give the literal, or a reference")
        if isinstance(secret, EnvSecret | FileSecret):
            self._check_reference(secret)
            return secret.model_dump()
        return None

    def _check_reference(self, reference: EnvSecret | FileSecret) -> None:
        if not self.operator:
            raise DomainError(
                ErrorKind.PERMISSION_DENIED,
                FIELD,
                f"{FIELD} names a variable or file of the server, which the operator may only "
                "(a token with the scope admin); give the secret itself",
                ["admin"],
            )
        if isinstance(reference, EnvSecret):
            if not reference.env.startswith(self.env_prefix):
                raise _refused(
                    f"names the variable {reference.env!r}; env takes names that begin with "
                    f"{self.env_prefix!r} (setting secret_env_prefix)"
                )
        elif self.folder is None or not Path(reference.file).is_relative_to(self.folder):
            where = f"below {str(self.folder)!r}" if self.folder else "nowhere yet"
            raise _refused(
                f"names the file {reference.file!r}; file takes paths {where} (setting secrets_dir)"
            )

    # On the way out

    def resolve(self, secrets: Sequence[Secret], owner: str) -> ResolvedSecrets:
        """The texts behind secrets, as they are now.

        Args:
            secrets: As they are stored.
            owner: The routine's id.
        """
        texts: list[str] = []
        unreachable: list[str] = []
        for secret in secrets:
            try:
                texts.append(self._text(secret, owner))
            except _Unreachable as error:
                unreachable.append(str(error))
        return ResolvedSecrets(texts, unreachable)

    def _text(self, secret: Secret, owner: str) -> str:
        match secret:
            case str():
                return secret
            case SealedSecret():
                try:
                    return self.sealing.open(secret.sealed, owner)
                except NotOpened:
                    raise _Unreachable(
                        "a sealed secret opens with none of the keys in sealing_key"
                    ) from None
            case EnvSecret():
                allowed = secret.env.startswith(self.env_prefix)
                if not allowed or not (text := self.variables.get(secret.env, "").strip()):
                    why = "is not set" if allowed else "is outside of secret_env_prefix"
                    raise _Unreachable(f"the variable {secret.env!r} {why}")
                return text
            case FileSecret():
                return self._file_text(Path(secret.file))
            case _:
                raise _Unreachable("a secret that is only marked as set")

    def _file_text(self, path: Path) -> str:
        try:
            # Resolved: a link must not lead out of the folder.
            real = path.resolve()
            if self.folder is None or not real.is_relative_to(self.folder.resolve()):
                raise _Unreachable(f"the file {str(path)!r} is outside of secrets_dir")
            if not real.is_file() or real.stat().st_size > MAX_FILE_BYTES:
                raise _Unreachable(f"{str(path)!r} is no file of at most {MAX_FILE_BYTES} bytes")
            text = real.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise _Unreachable(f"the file {str(path)!r} cannot be read") from error
        if not text:
            raise _Unreachable(f"the file {str(path)!r} is empty")
        return text


NO_SETTINGS: Final = WebhookSecrets(Sealing(lambda: None))


class _Unreachable(Exception):
    """A secret cannot be had now."""


def ensure_key(settings: Settings) -> None:
    """Make the key file that is used where the settings name no key, for a stack on one machine.

    Raises:
        DomainError: `unavailable` where it cannot be written.
    """
    if settings.sealing_key is None:
        create_key_file(settings.store.folder / KEY_FILE)


def _keys(settings: Settings, environ: Mapping[str, str]) -> Keyring | None:
    key = settings.sealing_key
    if key is not None:
        return parse_keys(resolve_secret(key, environ, "sealing_key"), "sealing_key")
    file = settings.store.folder / KEY_FILE
    if not file.is_file():
        return None
    try:
        return parse_keys(file.read_text(encoding="utf-8"), "sealing_key")
    except (OSError, UnicodeDecodeError) as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "sealing_key", f"sealing_key: cannot read {str(file)!r}"
        ) from error


def _trigger_of(body: Mapping[str, object]) -> Mapping[str, object]:
    trigger = body.get("trigger")
    return cast("Mapping[str, object]", trigger) if isinstance(trigger, Mapping) else {}


def _check_webhook(trigger: Mapping[str, object]) -> None:
    """Refuse a webhook with a misspelt key: a literal may stand behind it."""
    kind = trigger.get("type")
    if isinstance(kind, str) and kind.strip().lower() == TriggerType.WEBHOOK:
        _check_whole(trigger)


def _check_whole(trigger: Mapping[str, object]) -> None:
    checked = dict(trigger)
    if "secret" in checked:
        checked["secret"] = _each(
            checked["secret"], lambda one: _PLACEHOLDER if _is_hidden(one) else one
        )
    validate_trigger(checked, datetime.now(UTC))


def _each(secret: object, change: Callable[[object], object]) -> object:
    if isinstance(secret, list):
        return [change(one) for one in cast("list[object]", secret)]
    return change(secret)


def _is_hidden(value: object) -> bool:
    return value == {"set": True}


def _refused(wrong: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, FIELD, f"{FIELD} {wrong}")
