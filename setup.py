"""Packaging of EventflowDB: the library, the server and its twistd plugin."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from building.hot_path import BuildHotPath, extensions  # noqa: E402 - it is found by the line before
from building.requirements import DRAWING, LIBRARIES, TESTING  # noqa: E402


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
    cmdclass={"build_ext": BuildHotPath},
    install_requires=LIBRARIES,
    extras_require={"redis": ["redis>=5"], "bench": DRAWING, "test": TESTING},
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
