"""What the system and crash tests share: one installed wheel, and servers that are always taken down again."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.system.installation import (
    FORM_VARIABLE,
    Distributions,
    Installation,
    build_distributions,
    install,
    plain_wheel,
)
from tests.system.server import Server


class StartServer(Protocol):
    """Starts a server in the folder of the test; settings are its environment variables."""

    def __call__(self, *twistd_options: str, **settings: str) -> Server: ...


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist and the wheel of this checkout."""
    return build_distributions(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="session")
def plain_installation(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A venv with the wheel as it is where nothing can be compiled."""
    folder = tmp_path_factory.mktemp("plain")
    return install(plain_wheel(distributions.sdist, folder), folder)


@pytest.fixture(scope="session")
def compiled_installation(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """A venv with the wheel as it is where it can be compiled."""
    return install(distributions.wheel, tmp_path_factory.mktemp("compiled"))


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest) -> Installation:
    """The one that the servers under test are of."""
    form = os.environ.get(FORM_VARIABLE, "compiled")
    chosen: Installation = request.getfixturevalue(f"{form}_installation")
    return chosen


@pytest.fixture
def start_server(installation: Installation, tmp_path: Path) -> Iterator[StartServer]:
    """Start servers, one after the other on the same DATA or at once on several; all end with the test."""
    with ExitStack() as servers:

        def start(*twistd_options: str, **settings: str) -> Server:
            return servers.enter_context(Server.of(installation, tmp_path, settings, twistd_options))

        yield start


@pytest.fixture
def server(start_server: StartServer) -> Server:
    """A server with the settings it has by default."""
    return start_server()
