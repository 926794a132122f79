"""Tests of the installed wheel: real twistd, real clients, over TCP."""
