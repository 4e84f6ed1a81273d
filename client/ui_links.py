"""Where the Temporal UI shows what.

Owns the addresses of workflows in it; what has which workflow is the noun's.
"""

from urllib.parse import quote


class UiLinks:
    """Addresses in one namespace of the Temporal UI."""

    def __init__(self, ui_url: str, namespace: str) -> None:
        """Name the UI.

        Args:
            ui_url: Where it is; empty where the settings do not say.
            namespace: The namespace.
        """
        self._ui_url = ui_url
        self._namespace = namespace

    def workflow(self, workflow_id: str) -> str:
        """Where a workflow is shown; empty where the UI is not known."""
        if not self._ui_url:
            return ""
        workflow = quote(workflow_id, safe="")
        return f"{self._ui_url}/namespaces/{self._namespace}/workflows/{workflow}"
