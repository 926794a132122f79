"""What the crash tests share: the shim, compiled once."""

from pathlib import Path

import pytest

from tests.crash.shim import Shim, build


@pytest.fixture(scope="session")
def shim_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def shim(shim_library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """A shim for the servers of the test, which makes calls fail."""
    return Shim(shim_library, tmp_path, tmp_path_factory.mktemp("control"))


@pytest.fixture
def recording_shim(shim_library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """A shim for the servers of the test, which records their calls."""
    return Shim(shim_library, tmp_path, tmp_path_factory.mktemp("control"), is_recording=True)
