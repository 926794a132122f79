"""Tests of the clients: without a reactor, then over TCP with a server of the tests' own, then with the real one."""
