"""Tests of the network guard and of the shape checks that conftest.py switches on."""

import socket
import threading
import urllib.request

import pytest

from tests import offline


def test_another_machine_is_refused():
    with socket.socket() as connection, pytest.raises(offline.NetworkBlocked, match=r"192\.0\.2\.1"):
        connection.connect(("192.0.2.1", 80))
    with pytest.raises(offline.NetworkBlocked, match=r"example\.org"):
        urllib.request.urlopen("http://example.org")


def test_this_machine_is_reachable():
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with socket.create_connection(("localhost", server.getsockname()[1])) as connection:
            assert connection.recv(1) == b""
        thread.join()


@pytest.mark.parametrize("address", [("127.0.0.1", 80), ("::1", 80, 0, 0), "localhost", b"127.0.0.1", None, ("", 0)])
def test_loopback_is_local(address):
    assert offline.is_local(address)


@pytest.mark.parametrize("address", [("192.0.2.1", 80), ("2001:db8::1", 80, 0, 0), "example.org", b"example.org"])
def test_other_addresses_are_not(address):
    assert not offline.is_local(address)
