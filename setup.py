"""Packaging of EventflowDB: the library, the server and its twistd plugin."""

import os
import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent
COMPILED = {
    "eventflowdb": ("ids",),
    "eventflowdb/commands": ("arguments",),
    "eventflowdb/wire": ("inline", "integers", "links", "replies", "requests", "values"),
    "eventflowdb/storage": (
        *("batch", "changes", "checksum", "conditions", "consumers", "id_lists", "journal", "lmdb_store", "queries"),
        *("records", "requests", "searches", "selection", "settling", "tip", "transactions"),
    ),
    "eventflowdb/service": (
        *("appends", "budget", "commits", "contention", "conversation", "dispatch", "forwarding", "fronts", "groups"),
        *("handshake", "inline", "outbox", "pacing", "pages", "recent", "records", "reply", "responders", "session"),
        *("statistics", "turns", "waits", "window", "writer"),
    ),
}
"""The modules of the hot path, by folder. With EVENTFLOWDB_COMPILE=1 mypyc makes extensions of them, which behave the
same; it needs a C compiler, and in the environment what the extra `compile` lists (pip --no-build-isolation)."""

COMPILERS = ["setuptools>=77", "wheel", "mypy==2.4.1", "mypy-zope==1.0.17"]
"""What a build without isolation needs; setuptools of before 70 had its bdist_wheel from wheel."""

DRAWING = ["matplotlib>=3.8"]
"""What draws the charts of the benchmarks."""


def extensions() -> "list[Extension]":
    """What is compiled: nothing, unless one asks for it."""
    if os.environ.get("EVENTFLOWDB_COMPILE", "0") != "1":
        return []
    from mypyc.build import mypycify  # noqa: PLC0415 - only those who compile need it

    modules = [f"{folder}/{name}.py" for folder, names in COMPILED.items() for name in names]
    return list(mypycify(modules, opt_level="3", debug_level="0"))  # type: ignore[arg-type]  # both are setuptools'


def version() -> str:
    """The one place that states the version is eventflowdb/__init__.py; read it without importing."""
    text = (HERE / "eventflowdb" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError("eventflowdb/__init__.py states no __version__")
    return found.group(1)


setup(
    name="eventflowdb",
    version=version(),
    description="A database for event sourcing that speaks the Redis protocol",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="GPL-3.0-only",
    license_files=["LICENSE.md"],
    python_requires=">=3.10",
    # twistd finds a plugin by the file's place: twisted/plugins/ without an __init__.py. find_packages
    # cannot see such a folder, so it is named here by hand.
    packages=[*find_packages(include=["eventflowdb", "eventflowdb.*"]), "twisted.plugins"],
    package_data={"eventflowdb": ["py.typed"]},
    ext_modules=extensions(),
    install_requires=[
        "Twisted>=24.3",
        "lmdb>=3,<4",
        "msgspec>=0.19",
        "python-ulid>=3",
        "humanize>=4.9",
        "google-crc32c>=1.6",
        "txredisapi>=1.6,<2",
        "uvloop>=0.19; platform_python_implementation == 'CPython'",
    ],
    extras_require={
        "redis": ["redis>=5"],
        "compile": COMPILERS,
        "bench": DRAWING,
        "test": [
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
        ],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Database :: Database Engines/Servers",
        "Typing :: Typed",
    ],
    zip_safe=False,
)
