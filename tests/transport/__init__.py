"""Tests of the transport: fake ones, and real sockets without a running reactor."""
