"""Secrets inside a text: tokens known by their form, and headers and addresses that hold one.

Owns the forms. Values that follow a telling name are `domain.secret_values`', objects and lists are
walked by `domain.redaction`. Source: triggers-and-actions.md §7.

Invariants:
    1. Linear: a run of characters is taken possessively from its beginning, and whatever may fail
       fails within a bounded number of characters.
    2. A text that was masked is not changed by masking it again: forms are masked before names, so
       that no name changes its meaning afterwards.
"""

import re
from functools import partial
from typing import Final

from domain.secret_values import PLACEHOLDER, end_of_quoted, mask_named_values

_PEM_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,64}PRIVATE KEY(?: BLOCK)?-----")
# What stands in JSON behind an escaped end of line stands at the beginning of a word.
_EDGE: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_HEADER = re.compile(
    rf"""(?P<quote>\\{{0,15}}["'])?{_EDGE}(?:authorization|cookie)[ \t]{{0,8}}:[ \t]*+""",
    re.IGNORECASE | re.ASCII,
)
# The scheme of a header, and the names in it, are shorter or end with a sign.
_HEADER_PART = re.compile(r"""[^\s;,="']{8,}+(?!=[^\s=])""")
_LINE_REST = re.compile(r"[^\r\n]*+")
_AUTHORITY = re.compile(r"""(?<=[A-Za-z0-9+.-]://)[^\s/"'<>`]++""")
_BEARER = re.compile(_EDGE + r"(bearer)([ \t]{1,8})([\w.~+/=-]{8,}+)", re.IGNORECASE)
_KNOWN_FORM = re.compile(
    _EDGE
    + r"""(?:
        sk-[A-Za-z0-9_-]{16,}+
      | (?:AKIA|ASIA)[0-9A-Z]{16,}+
      | gh[opsur]_[A-Za-z0-9]{16,}+
      | github_pat_[A-Za-z0-9_]{16,}+
      | xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{8,}+
      | xapp-[A-Za-z0-9-]{8,}+
      | AIza[A-Za-z0-9_-]{30,}+
      | ya29\.[A-Za-z0-9_-]{16,}+
      | GOCSPX-[A-Za-z0-9_-]{16,}+
      | whsec_[A-Za-z0-9+/=_-]{8,}+
    )++""",
    re.VERBOSE | re.ASCII,
)
_DOTTED_RUN = re.compile(r"[A-Za-z0-9_.-]++", re.ASCII)
# `{"` in base64, which is how header and payload of a JWT begin.
_JWT_START: Final = "eyJ"
_JWT_PARTS: Final = 3


def mask_secrets(text: str) -> str:
    """The text with every secret replaced by the placeholder."""
    return _masked(text, [])


def masked_parts(text: str) -> list[str]:
    """What `mask_secrets` takes out of a text, in no order; of a header also each of its words."""
    replaced: list[str] = []
    _masked(text, replaced)
    return [part for piece in replaced for part in _parts(piece)]


def _parts(piece: str) -> list[str]:
    # What is masked in two steps holds the placeholder of the first, and around it little else.
    if PLACEHOLDER in piece:
        return _HEADER_PART.findall(piece.replace(PLACEHOLDER, " "))
    return [piece]


def _masked(text: str, replaced: list[str]) -> str:
    def whole(match: re.Match[str]) -> str:
        replaced.append(match[0])
        return PLACEHOLDER

    text = _mask_pem(text, replaced)
    if _JWT_START in text:
        text = _DOTTED_RUN.sub(partial(_mask_jwt, replaced), text)
    text = _KNOWN_FORM.sub(whole, text)
    text = _BEARER.sub(partial(_mask_bearer, replaced), text)
    text = _mask_headers(text, replaced)
    text = mask_named_values(text, replaced)
    return _AUTHORITY.sub(partial(_mask_authority, replaced), text)


def _mask_pem(text: str, replaced: list[str]) -> str:
    parts: list[str] = []
    position = 0
    while begin := _PEM_BEGIN.search(text, position):
        parts += [text[position : begin.start()], PLACEHOLDER]
        end = _PEM_END.search(text, begin.end())
        position = end.end() if end else len(text)
        replaced.append(text[begin.start() : position])
    return "".join([*parts, text[position:]])


def _mask_jwt(replaced: list[str], run: re.Match[str]) -> str:
    before, _, rest = run[0].partition(_JWT_START)
    token = rest.rstrip(".")
    # The signature of an unsigned token is empty: then its last dot is part of it.
    if rest.count(".") < _JWT_PARTS - 1 or "." not in token:
        return run[0]
    replaced.append(_JWT_START + token)
    return before + PLACEHOLDER + rest[len(token) :]


def _mask_bearer(replaced: list[str], match: re.Match[str]) -> str:
    # In any other spelling it may be the plain word, and what follows another.
    if match[1] != "Bearer" and not any(letter.isdigit() for letter in match[3]):
        return match[0]
    replaced.append(match[3])
    return match[1] + match[2] + PLACEHOLDER


def _mask_headers(text: str, replaced: list[str]) -> str:
    parts: list[str] = []
    position = 0
    while header := _HEADER.search(text, position):
        rest = _LINE_REST.match(text, header.end())
        end = rest.end() if rest else header.end()
        if quote := header["quote"]:
            end = end_of_quoted(text, header.end(), quote, end)
        parts += [text[position : header.end()], PLACEHOLDER if end > header.end() else ""]
        value = text[header.end() : end]
        replaced += [value, *_HEADER_PART.findall(value)]
        position = end
    return "".join([*parts, text[position:]])


def _mask_authority(replaced: list[str], match: re.Match[str]) -> str:
    login, at, host = match[0].rpartition("@")
    user, colon, password = login.partition(":")
    if not (at and colon and password):
        return match[0]
    replaced.append(password)
    return f"{user}:{PLACEHOLDER}@{host}"
