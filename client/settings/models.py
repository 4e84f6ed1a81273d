"""Setting `models`: what is filled in where it says nothing.

Owns the part of OpenAI's own variables. What a model is stands in `domain.model_chain`; what
happens without any model is the worker's. Source: DESIGN §8.
"""

from collections.abc import Mapping

from client.settings.model import Settings
from client.settings.tree import Node

# Servers that hold one model do not look at its name.
UNNAMED_MODEL = "default"


def complete_models(tree: Node, environ: Mapping[str, str]) -> None:
    """Fill in what `models` leaves to OpenAI's variables, and the name that nobody asks for.

    Args:
        tree: The values of all other sources; changed. Without any model and with OPENAI_API_KEY
            or OPENAI_BASE_URL, it gets the one that `openai_model` names.
        environ: The environment.
    """
    key, url = environ.get("OPENAI_API_KEY"), environ.get("OPENAI_BASE_URL")
    models = tree.child("models") or Node([])
    if models.value == [] and (key or url):
        name = tree.child("openai_model") or Node(Settings.model_fields["openai_model"].default)
        origin = "env OPENAI_API_KEY" if key else "env OPENAI_BASE_URL"
        models = Node([Node({"name": name}, origin)], origin)
        tree.put(["models"], models)
    for model in models.value if isinstance(models.value, list) else ():
        if not isinstance(model.value, dict):
            continue
        if "base_url" in model.value and "name" not in model.value:
            model.value["name"] = Node(UNNAMED_MODEL)
        if key and _is_absent(model, "api_key"):
            model.value["api_key"] = Node("env:OPENAI_API_KEY", "env OPENAI_API_KEY")
        if url and _is_absent(model, "base_url"):
            model.value["base_url"] = Node(url, "env OPENAI_BASE_URL")


def _is_absent(node: Node, key: str) -> bool:
    found = node.child(key)
    return found is None or found.value is None
