"""One JSON object that somebody gave: its fields read one by one, its problems collected.

Owns the plain rules every field follows: null counts as absent, texts are trimmed, a boolean or
`"60"` is no integer. Does not own any object: what has which fields is the rule of the noun that
reads it. Source: automation.md §2 and §4.

Invariants:
    1. A bad field is recorded and reading goes on, so one answer lists all that is wrong.
    2. Nothing read is used before `close`, which raises the first problem in reading order.
"""

from collections.abc import Callable, Collection, Mapping
from typing import TypeVar, cast

from domain.errors import DomainError, ErrorKind, FieldProblem

_Value = TypeVar("_Value")

_SHOWN_CHARS = 80
_SHOWN_BITS = 128


class FieldReader:
    """Reads the fields of one object, in validation order.

    Attributes:
        path: Where the object stands (`guardrails`), empty for the outermost one.
        problems: What is wrong so far, in reading order.
    """

    def __init__(self, values: Mapping[str, object], path: str) -> None:
        self._values = values
        self.path = path
        self.problems: list[FieldProblem] = []

    @classmethod
    def of(cls, value: object, path: str) -> "FieldReader":
        """Start reading.

        Raises:
            DomainError: `invalid_field` on `path` when the value is no JSON object.
        """
        if not isinstance(value, Mapping):
            raise DomainError(
                ErrorKind.INVALID_FIELD, path, f"{path} must be a JSON object, not {shown(value)}"
            )
        return cls(cast("Mapping[str, object]", value), path)

    def field(self, key: str) -> str:
        """The dotted path of a key; what UTF-8 cannot say in it is written as an escape."""
        name = key.encode("utf-8", "backslashreplace").decode()
        return f"{self.path}.{name}" if self.path else name

    def given(self, key: str) -> bool:
        """Whether a key holds anything but null."""
        return self._values.get(key) is not None

    def raw(self, key: str) -> object:
        """The value as it was given; null when absent."""
        return self._values.get(key)

    def tag(self, types: Collection[str]) -> str:
        """The `type` of a tagged object, trimmed and lower-cased.

        Raises:
            DomainError: `missing_field` or `invalid_field` on `type`; without it nothing can be
                read.
        """
        value, field = self.raw("type"), self.field("type")
        word = value.strip().lower() if isinstance(value, str) else value
        if isinstance(word, str) and word in types:
            return word
        kind, wrong = ErrorKind.INVALID_FIELD, f"is {shown(value)}, not"
        if word is None or word == "":
            kind, wrong = ErrorKind.MISSING_FIELD, "is required:"
        raise DomainError(kind, field, f"{field} {wrong} one of {', '.join(types)}", types)

    def refuse_unknown(self, accepted: Collection[str]) -> None:
        """Record every key that is not accepted."""
        for key in self._values:
            if key not in accepted:
                field = self.field(str(key))
                message = f"{field} is not known; accepted keys: {', '.join(accepted)}"
                self._record(ErrorKind.UNKNOWN_FIELD, field, message, accepted)

    def text(self, key: str) -> str | None:
        """A text, trimmed; null when absent or blank."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, str):
            self.invalid(key, f"must be a string, not {shown(value)}")
            return None
        if not is_unicode(value):
            self.invalid(key, "must be Unicode text; it holds half of a surrogate pair")
            return None
        return value.strip() or None

    def required_text(
        self, key: str, *, max_chars: int | None = None, max_bytes: int | None = None
    ) -> str:
        """A text that must not be blank, of limited length; "" when it is wrong."""
        before = len(self.problems)
        text = self.text(key)
        if text is None:
            if len(self.problems) == before:
                self.missing(key)
            return ""
        if max_chars is not None and len(text) > max_chars:
            self.invalid(key, f"must have 1 to {max_chars} characters, not {len(text)}")
        size = len(text.encode())
        if max_bytes is not None and size > max_bytes:
            self.invalid(key, f"must have 1 to {max_bytes} bytes of UTF-8, not {size}")
        return text

    def items(self, key: str, what: str) -> list[object] | None:
        """The items of a list of `what`; null when absent or no list."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list):
            self.invalid(key, f"must be a list of {what}, not {shown(value)}")
            return None
        return cast("list[object]", value)

    def integer(self, key: str, low: int, high: int, default: int) -> int:
        """An integer in a range; the default when absent."""
        value = self.optional_integer(key, low, high)
        return default if value is None else value

    def optional_integer(self, key: str, low: int, high: int | None = None) -> int | None:
        """An integer in a range, open above without `high`; null when absent."""
        value = self.raw(key)
        if value is None:
            return None
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and low <= value <= (high or value)
        ):
            return value
        wanted = f">= {low}" if high is None else f"from {low} to {high}"
        self.invalid(key, f"must be an integer {wanted}, not {shown(value)}")
        return None

    def boolean(self, key: str, default: bool) -> bool:
        """True or false; the default when absent."""
        value = self.raw(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.invalid(key, f"must be true or false, not {shown(value)}", ["true", "false"])
        return default

    def choice(self, key: str, accepted: Collection[str], default: str) -> str:
        """One of the accepted words, trimmed; the default when absent or blank."""
        value = self.raw(key)
        word = value.strip() if isinstance(value, str) else value
        if word is None or word == "":
            return default
        if isinstance(word, str) and word in accepted:
            return word
        self.invalid(key, f"must be one of {', '.join(accepted)}, not {shown(value)}", accepted)
        return default

    def check(self, read: Callable[[], _Value]) -> _Value | None:
        """What `read` returns; null when it raised, its problems being recorded."""
        try:
            return read()
        except DomainError as error:
            self.problems += problems_of(error)
            return None

    def invalid(self, key: str, wrong: str, accepted: Collection[str] = ()) -> None:
        """Record a value that is not accepted; the field's path is put before `wrong`."""
        field = self.field(key)
        self._record(ErrorKind.INVALID_FIELD, field, f"{field} {wrong}", accepted)

    def missing(self, key: str, hint: str = "") -> None:
        """Record a value that is required and absent or blank."""
        field = self.field(key)
        message = f"{field} is required" + (f"; {hint}" if hint else "")
        self._record(ErrorKind.MISSING_FIELD, field, message, ())

    def close(self) -> None:
        """End reading.

        Raises:
            DomainError: The first problem, with all of them where there are several.
        """
        raise_first(self.problems)

    def _record(self, kind: ErrorKind, field: str, message: str, accepted: Collection[str]) -> None:
        problem = FieldProblem(kind=kind, field=field, message=message, accepted=list(accepted))
        self.problems.append(problem)


def problems_of(error: DomainError) -> list[FieldProblem]:
    """All problems an error tells of, in validation order."""
    if error.errors:
        return error.errors
    own = FieldProblem(
        kind=error.kind, field=error.field, message=error.message, accepted=error.accepted
    )
    return [own]


def raise_first(problems: Collection[FieldProblem]) -> None:
    """Raise the first of several problems; nothing when there is none.

    Raises:
        DomainError: The first problem; `errors` lists all when there is more than one.
    """
    for first in problems:
        raise DomainError(
            first.kind,
            first.field,
            first.message,
            first.accepted,
            problems if len(problems) > 1 else (),
        )


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """A value as an error message may quote it: short, whatever was given."""
    # Python refuses to print integers of several thousand digits.
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
