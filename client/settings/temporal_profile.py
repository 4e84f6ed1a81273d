"""Temporal's own configuration, `TEMPORAL_…` variables and profiles, as part of the settings.

Owns how it enters section `temporal`, so that `tickless` and Temporal's own command talk to the
same server. Source: DESIGN §8.

Invariants:
    1. Order, strongest first: `TICKLESS_TEMPORAL__…`, `TEMPORAL_…` and the profile that the
       environment names, the settings file, the default profile of the user, defaults.
    2. The user's default profile counts only where the settings name no address: its key must
       not be sent to another server. It is read only where the environment says whose it is
       (`HOME`), so that an empty environment reads nothing from this machine.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.settings.environment import PREFIX
from client.settings.tree import Node, Step
from domain.errors import DomainError, ErrorKind

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConfigProfile

_VARIABLES: dict[tuple[Step, ...], tuple[str, ...]] = {
    ("address",): ("TEMPORAL_ADDRESS",),
    ("namespace",): ("TEMPORAL_NAMESPACE",),
    ("api_key",): ("TEMPORAL_API_KEY",),
    ("tls", "enabled"): ("TEMPORAL_TLS",),
    ("tls", "server_name"): ("TEMPORAL_TLS_SERVER_NAME",),
    ("tls", "server_ca_cert"): (
        "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
        "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    ),
    ("tls", "client_cert"): ("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA"),
    ("tls", "client_key"): ("TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA"),
}


def apply_temporal_configuration(tree: Node, environ: Mapping[str, str]) -> None:
    """Put what Temporal's own configuration says into the tree.

    Raises:
        DomainError: `invalid_field` on `temporal` when that configuration is wrong.
    """
    named = any(environ.get(name) for name in ("TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"))
    homed = any(environ.get(name) for name in ("HOME", "USERPROFILE", "APPDATA"))
    if homed and not named and not _names_address(tree, environ):
        for path, value, origin in _values({}, disable_file=False):
            if (known := tree.at(path)) is None or known.value is None:
                tree.put(path, Node(value, origin))
    for path, value, origin in _values(environ, disable_file=not named):
        tree.put(path, Node(value, origin))


def _names_address(tree: Node, environ: Mapping[str, str]) -> bool:
    """Whether the settings themselves say which server is meant."""
    address = tree.at(("temporal", "address"))
    variable = f"{PREFIX}TEMPORAL__ADDRESS"
    return (address is not None and address.value is not None) or any(
        name.upper() == variable for name in environ
    )


def _values(
    environ: Mapping[str, str], *, disable_file: bool
) -> Iterator[tuple[tuple[Step, ...], str | bool, str]]:
    """What a profile says: path, value and origin of each setting."""
    from temporalio.envconfig import ClientConfigProfile

    # Temporal's reader fails on variables that are no Unicode, also on those it does not look at.
    own = {name: value for name, value in environ.items() if name.startswith("TEMPORAL_")}
    try:
        profile = ClientConfigProfile.load(disable_file=disable_file, override_env_vars=own)
    except (RuntimeError, UnicodeError) as error:
        # Only the first line, and no cause: the others quote the file, which may hold an API key.
        reason = str(error).partition("\n")[0]
        message = f"temporal: Temporal's own configuration is wrong: {reason}"
        raise DomainError(ErrorKind.INVALID_FIELD, "temporal", message) from None
    profile_name = environ.get("TEMPORAL_PROFILE") or "default"
    for path, value in _flat(profile):
        variable = next((name for name in _VARIABLES.get(path, ()) if environ.get(name)), None)
        origin = f"env {variable}" if variable else f"profile {profile_name} of Temporal"
        yield ("temporal", *path), value, origin


def _flat(profile: "ClientConfigProfile") -> Iterator[tuple[tuple[Step, ...], str | bool]]:
    """The settings of a profile that are given, in our names."""
    # The profile's own dictionary form; `Any` because its certificates are mappings or texts.
    values: dict[str, Any] = dict(profile.to_dict())
    for name in ("address", "namespace", "api_key"):
        if values.get(name):
            yield (name,), values[name]
    for name, header in values.get("grpc_meta", {}).items():
        yield ("grpc_meta", name), header
    tls: dict[str, Any] = values.get("tls", {})
    if "disabled" in tls:
        yield ("tls", "enabled"), not tls["disabled"]
    if tls.get("server_name"):
        yield ("tls", "server_name"), tls["server_name"]
    for name in ("server_ca_cert", "client_cert", "client_key"):
        match tls.get(name):
            case {"path": path}:
                yield ("tls", name), f"file:{Path(path).absolute()}"
            case {"data": data}:
                yield ("tls", name), data
            case _:
                pass
