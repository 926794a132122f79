"""Tests of the store: plain pytest, and every store is verified when its test ends."""
