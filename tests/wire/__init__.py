"""Tests of the wire format: the same tables both ways, whole and in every cut."""
