"""The build backend (PEP 517, PEP 660): setuptools', with what compiles the hot path where that can be done."""

import os
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_wheel,
)

from building.hot_path import SWITCH, is_compiled, is_demanded
from building.requirements import COMPILERS, LIBRARIES

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What pip has to install to build a wheel."""
    required = build_meta.get_requires_for_build_wheel(config_settings)
    return [*required, *COMPILERS, *LIBRARIES] if is_compiled() else required


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """What pip has to install to build an editable wheel."""
    _leave_plain()
    return build_meta.get_requires_for_build_editable(config_settings)


def prepare_metadata_for_build_editable(metadata_directory: Any, config_settings: Any = None) -> str:
    """The metadata of an editable wheel."""
    _leave_plain()
    return build_meta.prepare_metadata_for_build_editable(metadata_directory, config_settings)


def build_editable(wheel_directory: Any, config_settings: Any = None, metadata_directory: Any = None) -> str:
    """An editable wheel: its modules are the checkout's."""
    _leave_plain()
    return build_meta.build_editable(wheel_directory, config_settings, metadata_directory)


def _leave_plain() -> None:
    # Extensions would lie in the checkout, beside sources that one edits to no effect.
    if is_demanded():
        raise SystemExit(f"{SWITCH}=1: an editable installation is never compiled; install without -e, or unset it")
    os.environ[SWITCH] = "0"
