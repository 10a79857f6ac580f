"""The PROXY protocol: whose connection a load balancer passes on."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pytest

from server.transport.limits import Limits
from server.transport.proxy_header import HeaderError, read_header
from tests.server.transport.service import Peer, RunningServer, frame, message, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
CALL = frame(message("predict", "a"))


def binary(command: int, family: int, addresses: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(addresses)) + addresses


IPV4 = socket.inet_aton("192.0.2.7") + socket.inet_aton("192.0.2.8") + struct.pack("!HH", 4711, 9090)
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack("!HH", 4711, 9090)

HEADERS = {
    "1, IPv4": (b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 9090\r\n", ("192.0.2.7", 4711)),
    "1, IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::8 4711 9090\r\n", ("2001:db8::7", 4711)),
    "1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "1, unknown with addresses": (b"PROXY UNKNOWN 1.2.3.4 5.6.7.8 1 2\r\n", None),
    "2, IPv4": (binary(0x21, 0x11, IPV4), ("192.0.2.7", 4711)),
    "2, IPv6": (binary(0x21, 0x21, IPV6), ("2001:db8::7", 4711)),
    "2, with what else there may be": (binary(0x21, 0x11, IPV4 + b"\x04\x00\x01x"), ("192.0.2.7", 4711)),
    "2, a unix socket": (binary(0x21, 0x31, bytes(216)), None),
    "2, the balancer itself": (binary(0x20, 0x00, b""), None),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header(name: str) -> None:
    header, peer = HEADERS[name]
    assert read_header(header + b"behind") == (len(header), peer)
    for size in range(1, len(header)):
        assert read_header(header[:size]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        CALL,
        b"PROXY TCP4 192.0.2.7 192.0.2.8 4711\r\n",
        b"PROXY TCP4 192.0.2.777 192.0.2.8 4711 9090\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::8 4711 9090\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.8 port 9090\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.8 4711 9090\r\n",
        b"PROXY " + b"x" * 101,
        binary(0x31, 0x11, IPV4),
        binary(0x22, 0x11, IPV4),
        binary(0x21, 0x11, IPV4[:11]),
        binary(0x21, 0x11, bytes(5000))[:16],
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(HeaderError, match="PROXY protocol"):
        read_header(data)


@pytest.fixture
def behind_balancer() -> Iterator[RunningServer]:
    with running(proxy_protocol=True) as server:
        yield server


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("piece", [1, 1000])
def test_a_connection_goes_on_behind_its_header(behind_balancer: RunningServer, name: str, piece: int) -> None:
    header, peer = HEADERS[name]
    with Peer(behind_balancer.port) as client:
        data = header + CALL + CALL
        for start in range(0, len(data), piece):
            client.send(data[start : start + piece])
        for _ in range(2):
            assert client.answer(framed=True) == (1, {"a": 1.0})
        client.send(b"\0\0\0\5junk!")
        assert client.is_closed()
    [entry] = behind_balancer.log.find("warning", "no Thrift message")
    expected = f"{peer[0]}:{peer[1]}" if peer else f"127.0.0.1:{client.port}"
    assert entry["peer"] == expected


def test_one_without_a_header_is_closed(behind_balancer: RunningServer) -> None:
    with Peer(behind_balancer.port) as client:
        client.send(CALL)
        assert client.is_closed()
    assert len(behind_balancer.log.find("warning", "no header of the PROXY protocol (setting proxy_protocol)")) == 1


def test_one_whose_header_does_not_come_is_closed() -> None:
    with running(Limits(message_s=0.2), proxy_protocol=True) as server, Peer(server.port) as client:
        client.send(b"PROXY")
        assert client.is_closed()


def test_a_header_where_none_is_expected_is_named(thrift_server: RunningServer) -> None:
    with Peer(thrift_server.port) as client:
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 9090\r\n" + CALL)
        assert client.is_closed()
    assert len(thrift_server.log.find("warning", "the setting proxy_protocol takes it")) == 1
