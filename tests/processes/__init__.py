"""Tests of the processes of a server, without starting any."""
