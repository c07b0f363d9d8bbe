"""A guard that refuses every connection to another machine."""

import ipaddress
import socket
import sys

_EVENTS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.sendmsg": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
_LOCAL_NAMES = frozenset({"", "localhost", "0.0.0.0", "::", socket.gethostname()})
_allowed = False


class NetworkBlocked(RuntimeError):
    """A test tried to reach another machine. Not an OSError, so that no library takes it for a bad connection."""


def install() -> None:
    """Refuse such connections from now on, for the life of the process: an audit hook cannot be taken off."""
    sys.addaudithook(_audit)


def allow(*, network: bool) -> None:
    """Open the guard for a test that is marked `network`, or close it again."""
    global _allowed
    _allowed = network


def is_local(address: object) -> bool:
    """Whether an address as `socket` takes it, or a bare host name, stays on this machine."""
    host = address[0] if isinstance(address, tuple) else address
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    if host is None or host in _LOCAL_NAMES:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _audit(event: str, arguments: tuple) -> None:
    position = _EVENTS.get(event)
    if position is None or _allowed:
        return
    address = arguments[position]
    unix_socket = position == 1 and isinstance(address, str | bytes)
    if not unix_socket and not is_local(address):
        raise NetworkBlocked(
            f"{event} to {address!r}: tests run offline. Give the code local data, or mark the test "
            "`network` and run pytest with --network."
        )
