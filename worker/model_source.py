"""Which models a worker calls: those of the settings, or the one that runs on this machine.

Owns the choice and the life of the local model's server. Source: DESIGN §8.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager

from pydantic import SecretStr

from client.settings import Settings, resolve_secrets
from domain.model_chain import ModelSpec
from worker.llama_server import default_threads
from worker.local_model import checked_gguf, fetch_weights
from worker.local_model_server import LocalModelOptions, LocalModelServer

LOCAL_PROVIDER = "local"
Progress = Callable[[int, int], None]


@asynccontextmanager
async def model_chain(
    settings: Settings, environ: Mapping[str, str], progress: Progress | None = None
) -> AsyncGenerator[list[ModelSpec]]:
    """The models to call, the preferred one first; a local server lives as long as the context.

    Args:
        settings: With `models` empty the local model is started.
        environ: Where `env:` references are looked up.
        progress: Told how far the weights are fetched, when they are.

    Raises:
        DomainError: A reference leads nowhere, or the local model cannot be had (it then names the
            three ways to configure a model).
    """
    if settings.models:
        yield [
            resolve_secrets(spec, environ, f"models.{index}")
            for index, spec in enumerate(settings.models)
        ]
        return
    local = settings.local_model
    if local.gguf is not None:
        weights = checked_gguf(local.gguf)
    else:
        weights = await fetch_weights(local.cache_folder, progress=progress)
    options = LocalModelOptions(
        model=weights,
        log_file=settings.store.folder / "local-model.log",
        alias=weights.stem,
        context_tokens=local.context_tokens,
        threads=local.threads or default_threads(),
    )
    async with LocalModelServer(options) as server:
        yield [
            ModelSpec(
                name=weights.stem,
                provider=LOCAL_PROVIDER,
                base_url=server.base_url,
                api_key=SecretStr("none"),
                context_tokens=local.context_tokens,
                # A small model wanders less when it takes the likeliest word.
                temperature=0,
                # When it wanders all the same, it has to come to an end.
                max_tokens=512,
                # A busy processor prefills slowly, and says nothing until it is done.
                idle_timeout_seconds=300,
            )
        ]
