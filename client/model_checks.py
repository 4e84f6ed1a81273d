"""Whether the configured models can be reached, for `tickless doctor`.

Owns asking each provider for its list of models: it costs nothing, needs the same key as a call,
and tells a wrong address, a wrong key and a wrong name apart. No answer of a model is asked for.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from client.findings import Finding, failed, ok, warning
from client.settings import Settings, resolve_secret, without_password
from domain.model_chain import ModelSpec

MODEL_TIMEOUT = timedelta(seconds=10)
OPENAI_URL = "https://api.openai.com/v1"

# Beside a base_url the name may be left out, for servers that hold one model.
_UNNAMED = "default"
_LISTED = 8


def examine_local_model(settings: Settings) -> Finding:
    """The model that runs on this machine, where no other is configured."""
    weights = settings.local_model.gguf
    if weights is None:
        return warning(
            "model",
            "SmolLM2-135M, on this machine",
            "it is a demonstration and gets facts wrong: set OPENAI_API_KEY, "
            "TICKLESS_MODELS__0__BASE_URL, or local_model.gguf for a better one",
        )
    if weights.is_file():
        return ok("model", f"{weights}, on this machine")
    return failed("model", str(weights), "local_model.gguf names no file")


async def examine_model(index: int, spec: ModelSpec, environ: Mapping[str, str]) -> Finding:
    """Ask one provider which models it has.

    Args:
        index: Place in setting `models`.
        spec: The model.
        environ: Where `env:` references are looked up.

    Raises:
        DomainError: The key refers to something that is not there.
    """
    base = (spec.base_url or OPENAI_URL).rstrip("/")
    shown, check = without_password(base), f"model {spec.key}"
    key = _key(index, spec, environ)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with httpx.AsyncClient(timeout=MODEL_TIMEOUT.total_seconds()) as http:
            answer = await http.get(f"{base}/models", headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        return failed(
            check, f"{shown} gives no answer", f"check models.{index}.base_url ({reason})"
        )
    status = answer.status_code
    if status in {401, 403}:
        return failed(check, f"{shown} answers {status}", f"check models.{index}.api_key")
    if status >= 500:
        return failed(check, f"{shown} answers {status}", "the provider is in trouble: wait")
    return _listed(check, spec, shown, _names(answer), index)


def _listed(check: str, spec: ModelSpec, base: str, names: list[str], index: int) -> Finding:
    """What the list says; many servers have none, and are trusted to know the model."""
    if not names or spec.name == _UNNAMED or spec.name in names:
        return ok(check, f"{base} answers")
    some = ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
    return warning(
        check,
        f"{base} answers, but does not list {spec.name!r}",
        f"check models.{index}.name; it lists {some}",
    )


def _names(answer: httpx.Response) -> list[str]:
    if not answer.is_success:
        return []
    try:
        body: Any = answer.json()
        return [str(item["id"]) for item in body["data"]]
    except (ValueError, TypeError, KeyError):
        return []


def _key(index: int, spec: ModelSpec, environ: Mapping[str, str]) -> str | None:
    given: SecretStr | None = spec.api_key
    return resolve_secret(given, environ, f"models.{index}.api_key") if given else None
