"""TCP ports on this machine: whether one is free, who holds it, and a free one.

Owns the check before a server of ours starts, so that a busy port is told with its holder and not
by a line in that server's log. Does not reserve anything: between answer and use there is a gap.
Naming the holder reads `/proc`, so it works on Linux and for processes this user may look at;
elsewhere the message names the port alone. Source: DESIGN §8.
"""

import errno
import socket
import sys
import textwrap
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from domain.errors import DomainError, ErrorKind

_PROC = Path("/proc")
_LISTEN = "0A"
_COMMAND_CHARS = 100


@dataclass(frozen=True)
class PortHolder:
    """The process that listens on a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def _family(ip: str) -> socket.AddressFamily:
    try:
        version = ip_address(ip).version
    except ValueError as error:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "ip", f"{ip!r} is no IP address", ["127.0.0.1", "::1"]
        ) from error
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def host_port(ip: str, port: int) -> str:
    """`127.0.0.1:7233`, with brackets around an IPv6 address."""
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def free_port(ip: str) -> int:
    """A port nobody listens on now.

    Args:
        ip: The address it will be used on.

    Returns:
        The port. On Linux it is left in TIME_WAIT for a minute: the kernel gives it to nobody who
        asks for any port, while a server that asks for this very one gets it.
    """
    with socket.socket(_family(ip), socket.SOCK_STREAM) as listener:
        _allow_reuse(listener)
        listener.bind((ip, 0))
        port: int = listener.getsockname()[1]
        if sys.platform == "linux":
            listener.listen(1)
            with socket.create_connection((ip, port)):
                # Who closes first keeps TIME_WAIT, so the accepted side goes before the other.
                listener.accept()[0].close()
    return port


def require_free_port(ip: str, port: int, field: str) -> None:
    """Check that a server can listen on an address.

    Args:
        ip: The address.
        port: The port.
        field: Name of the setting, for the error.

    Raises:
        DomainError: `conflict` on `field` when the port is taken, with the holder where it can be
            told; `invalid_field` when the address cannot be used at all.
    """
    with socket.socket(_family(ip), socket.SOCK_STREAM) as probe:
        _allow_reuse(probe)
        try:
            probe.bind((ip, port))
        except OSError as error:
            address = host_port(ip, port)
            if error.errno != errno.EADDRINUSE:
                raise DomainError(
                    ErrorKind.INVALID_FIELD,
                    field,
                    f"{field}: cannot listen on {address}: {error.strerror}; choose another one",
                ) from error
            holder = port_holder(ip, port)
            raise DomainError(
                ErrorKind.CONFLICT,
                field,
                f"{field}: {address} is in use by {holder or 'another process'}; "
                "stop it or choose another port",
            ) from error


def _allow_reuse(server: socket.socket) -> None:
    """Ask as servers do: a port in TIME_WAIT is free. On Windows it would mean stealing a port."""
    if sys.platform != "win32":
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def port_holder(ip: str, port: int) -> PortHolder | None:
    """The process that listens on an address.

    Args:
        ip: The address; a listener on all addresses counts too.
        port: The port.

    Returns:
        The process, or None where that cannot be found out.
    """
    inodes = _listening_inodes(ip, port)
    if not inodes:
        return None
    links = {f"socket:[{inode}]" for inode in inodes}
    for process in _PROC.iterdir():
        if process.name.isdigit() and _has_descriptor(process, links):
            return PortHolder(int(process.name), _command(process))
    return None


def _hex_address(ip: str) -> str:
    """The address as `/proc/net/tcp` spells it: words of 32 bits in the machine's byte order."""
    packed = socket.inet_pton(_family(ip), ip)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def _listening_inodes(ip: str, port: int) -> set[str]:
    addresses = {_hex_address(ip), "0" * 8, "0" * 32}
    local = {f"{address}:{port:04X}" for address in addresses}
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        try:
            table = (_PROC / "net" / name).read_text(encoding="ascii")
        except OSError:
            continue  # no /proc here, or no IPv6
        rows = (line.split() for line in table.splitlines()[1:])
        inodes.update(row[9] for row in rows if row[1] in local and row[3] == _LISTEN)
    return inodes


def _has_descriptor(process: Path, links: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in links for entry in (process / "fd").iterdir())
    except OSError:
        return False  # ended meanwhile, or another user's


def _command(process: Path) -> str:
    try:
        arguments = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return "unknown command"
    command = b" ".join(arguments).decode(errors="replace").strip()
    return textwrap.shorten(command, _COMMAND_CHARS, placeholder=" …")
