"""The HTTP gateway: the API of automation.md §13 over a connection to Temporal, and nothing else.

Importing it loads FastAPI, so commands do so when they run.
"""

from client.gateway.serving import Gateway, running_gateway

__all__ = ["Gateway", "running_gateway"]
