"""Drivers of Python's Redis libraries and of Redis's own tools; ../README.md says what a driver is.

They run in venvs that hold one library: nothing here may import more than that library and the standard library.
"""
