"""Which addresses requests may go to: every special range by a member at its edges."""

import pytest

from domain.outbound_addresses import AllowedHost, is_allowed, is_public, parse_allowed_host


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.255.255",
     "2606:4700:4700::1111", "2a00:1450:4001:80b::200e", "2001:4860:4860::8888"],
)  # fmt: skip
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
        "127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "172.16.0.1",
        "172.31.255.255", "192.168.0.1", "192.0.0.170", "192.0.0.9", "192.0.2.1", "192.88.99.1",
        "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "168.63.129.16",
        "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "::8.8.8.8",
        "64:ff9b::8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1",
        "2001:10::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "fec0::1",
        "ff02::1", "4000::1",
    ],
)  # fmt: skip
def test_everything_else_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "0x7f000001", "127.1", "[::1]"])
def test_what_is_no_address_is_not_public(text: str) -> None:
    assert not is_public(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("Example.org", "example.org", None),
        ("example.org.", "example.org", None),
        (" localhost:8123 ", "localhost", 8123),
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("[::1]:8080", "::1", 8080),
        ("[::1]", "::1", None),
        ("::1", "::1", None),
    ],
)
def test_allowed_hosts_are_read(text: str, host: str, port: int | None) -> None:
    assert parse_allowed_host(text) == AllowedHost(host, port)


@pytest.mark.parametrize(
    "text", ["", ":80", "a b", "http://x", "u@x", "x:0", "x:65536", "x:", "x:http", "*.x", "x:²"]
)
def test_other_texts_are_no_allowed_hosts(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse_allowed_host(text)


def test_a_host_is_allowed_at_its_port_or_at_the_usual_ones() -> None:
    allowed = [AllowedHost("a"), AllowedHost("b", 9000)]
    assert is_allowed("a", 443, allowed)
    assert not is_allowed("a", 9000, allowed)
    assert is_allowed("b", 9000, allowed)
    assert not is_allowed("b", 443, allowed)
    assert not is_allowed("c", 443, allowed)
    assert is_allowed("a", 9001, allowed, [9001])
