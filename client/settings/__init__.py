"""The settings of Tickless: what can be set, and reading it from file and environment."""

from client.settings.loading import Loaded, load_settings
from client.settings.model import Settings
from client.settings.secrets import resolve_secret, resolve_secrets, without_password
from client.settings.temporal import TemporalSettings, connect_config

__all__ = [
    "Loaded",
    "Settings",
    "TemporalSettings",
    "connect_config",
    "load_settings",
    "resolve_secret",
    "resolve_secrets",
    "without_password",
]
