"""The libraries that the server, its build and its tests are made with."""

LIBRARIES = [
    "Twisted>=24.3",
    "lmdb>=3,<4",
    "msgspec>=0.19",
    "python-ulid>=3",
    "humanize>=4.9",
    "google-crc32c>=1.6",
    "txredisapi>=1.6,<2",
    "uvloop>=0.19; platform_python_implementation == 'CPython'",
]
"""What the server imports."""

COMPILERS = ["mypy==2.4.1", "mypy-zope==1.0.17"]
"""What compiles the hot path. It has to see the libraries too, for their types."""

DRAWING = ["matplotlib>=3.8"]
"""What draws the charts of the benchmarks."""

TESTING = [
    "pytest>=8",
    "hypothesis>=6.100",
    "redis>=5",
    "PyYAML>=6",
    "types-PyYAML",
    "types-setuptools",
    "ruff==0.17.6",
    *COMPILERS,
    "import-linter==2.15",
    "build>=1.2",
    "check-jsonschema>=0.29",
    *DRAWING,
]
"""What the checks and the tests are run with."""
