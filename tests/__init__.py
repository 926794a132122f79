"""The tests; `python -m tests` runs them and every other check.

A package, since a folder without this file would lose to any `tests` that some library left in site-packages.
"""
