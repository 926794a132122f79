"""Tests of the commands as data: their arguments, and the table."""
