"""Who holds a port, told before a server of ours runs into it."""

import socket

import pytest

from domain.errors import DomainError, ErrorKind
from tests.support.processes import next_line, python_child
from worker.ports import free_port, host_port, port_holder, require_free_port

LISTEN = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0), family=int(sys.argv[2]))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


def family(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
async def test_a_busy_port_names_the_process_that_holds_it(ip: str) -> None:
    async with python_child(LISTEN, ip, str(int(family(ip)))) as stranger:
        port = int(await next_line(stranger))
        with pytest.raises(DomainError) as raised:
            require_free_port(ip, port, "temporal.port")
    problem = raised.value
    assert (problem.kind, problem.field) == (ErrorKind.CONFLICT, "temporal.port")
    assert problem.message.startswith(f"temporal.port: {host_port(ip, port)} is in use by process")
    assert f"process {stranger.pid} (" in problem.message
    assert "import socket" in problem.message
    assert len(problem.message) < 250


def test_a_listener_on_all_addresses_holds_the_port_of_each() -> None:
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        holder = port_holder("127.0.0.1", port)
        with pytest.raises(DomainError, match="is in use by process"):
            require_free_port("127.0.0.1", port, "temporal.port")
    assert holder
    assert "pytest" in holder.command or "python" in holder.command


def test_a_port_of_another_address_is_not_held() -> None:
    with socket.create_server(("127.0.0.2", 0)) as listener:
        port = listener.getsockname()[1]
        require_free_port("127.0.0.1", port, "temporal.port")
        assert port_holder("127.0.0.1", port) is None


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_a_free_port_can_be_used_and_is_not_handed_out_twice(ip: str) -> None:
    ports = [free_port(ip) for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        require_free_port(ip, port, "temporal.port")
        assert port_holder(ip, port) is None
        with socket.create_server((ip, port), family=family(ip)):
            pass


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(DomainError, match=r"cannot listen on 203\.0\.113\.1:7233") as raised:
        require_free_port("203.0.113.1", 7233, "temporal.port")
    assert raised.value.kind is ErrorKind.INVALID_FIELD


@pytest.mark.parametrize("ip", ["localhost", "", "1.2.3"])
def test_what_is_no_ip_address_is_refused(ip: str) -> None:
    with pytest.raises(DomainError, match="is no IP address") as raised:
        free_port(ip)
    assert raised.value.kind is ErrorKind.INVALID_FIELD
