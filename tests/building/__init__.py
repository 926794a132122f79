"""Tests of how an installation is built."""
