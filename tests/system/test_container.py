"""The container, as far as it can be checked without an engine.

The files are read, and the image's commands run as they stand, outside a container: in the venv of the wheel, where
the image has its own.
"""

import shutil
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventflowdb.config import SETTINGS
from tests.system.dockerfile import Instruction, context_of, environment_of, last_stage, the_only
from tests.system.installation import ROOT, Distributions, Installation, copy_checkout, plain_wheel, run
from tests.system.server import Server

pytestmark = pytest.mark.system

VENV = "/opt/eventflowdb"
COMPOSE_FILE = ROOT / "docker-compose.yml"
DEFAULTS = {setting.variable: setting.default for setting in SETTINGS}


@pytest.fixture(scope="module")
def image() -> list[Instruction]:
    """The instructions that make the image."""
    return last_stage(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def service() -> Any:
    """The one service of the compose file."""
    (service,) = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["services"].values()
    return service


class Container:
    """What the image would run, with its environment; only the venv, the port and the folder are other ones."""

    def __init__(self, image: list[Instruction], installation: Installation, folder: Path) -> None:
        self.image = image
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free_port = str(listener.getsockname()[1])
        environment = environment_of(image)
        path = environment.pop("PATH").replace(VENV, str(installation.venv)).replace("$PATH", "/usr/bin:/bin")
        self.environment = {**environment, "PATH": path, "PORT": free_port, "DATA": str(folder / "data")}

    def start(self, **settings: str) -> Server:
        """Run CMD; wait until it listens."""
        server = Server(the_only(self.image, "CMD").exec_form, {**self.environment, **settings}, self.folder)
        try:
            assert str(server.port) == self.environment["PORT"]
        except BaseException:
            server.kill()
            raise
        return server

    def health(self, **settings: str) -> tuple[int, str]:
        """Run HEALTHCHECK; its exit status, and what it printed."""
        ended = subprocess.run(
            the_only(self.image, "HEALTHCHECK").exec_form,
            cwd=self.folder,
            env={**self.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return ended.returncode, ended.stdout


@pytest.fixture
def container(image: list[Instruction], installation: Installation, tmp_path: Path) -> Container:
    """A container in the folder of the test."""
    return Container(image, installation, tmp_path)


def test_image_runs_as_an_unprivileged_user_with_its_data_in_a_volume(image: list[Instruction]) -> None:
    words = [instruction.word for instruction in image]
    user, _, group = the_only(image, "USER").rest.partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert environment_of(image)["DATA"] == the_only(image, "VOLUME").rest == "/data"
    made = next(instruction.rest for instruction in image if "install --directory" in instruction.rest)
    assert "--mode=0700 --owner=eventflowdb --group=eventflowdb /data" in made
    assert f"useradd --system --uid {user} --gid {group} " in made
    # The folder is made by root, before the user changes; after the change nothing is built any more.
    assert "RUN" not in words[words.index("USER") :]
    assert the_only(image, "STOPSIGNAL").rest == "SIGTERM"


def test_image_listens_everywhere_on_the_exposed_port(image: list[Instruction]) -> None:
    assert environment_of(image)["INTERFACE"] == "0.0.0.0"
    assert the_only(image, "EXPOSE").rest == DEFAULTS["PORT"]


def test_image_is_built_from_all_that_the_wheel_needs(distributions: Distributions, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    context = tmp_path / "context"
    context.mkdir()
    for name in context_of(ROOT / ".dockerignore"):
        source = checkout / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, context / name)
    with (
        zipfile.ZipFile(plain_wheel(context, tmp_path)) as built,
        zipfile.ZipFile(plain_wheel(distributions.sdist, tmp_path / "released")) as released,
    ):
        assert sorted(built.namelist()) == sorted(released.namelist())


def test_image_does_not_start_without_a_password(container: Container) -> None:
    server = Server(the_only(container.image, "CMD").exec_form, container.environment, container.folder)
    assert server.wait() == 1
    assert server.output.startswith("eventflowdb: INTERFACE 0.0.0.0 is reachable from other machines")
    assert container.health()[0] == 1


def test_health_follows_the_server(container: Container) -> None:
    assert container.health(PASSWORD="open sesame")[0] == 1
    with container.start(PASSWORD="open sesame") as server:
        assert container.health(PASSWORD="open sesame") == (0, "")
        status, printed = container.health(PASSWORD="wrong")
        assert status == 1
        assert printed.startswith("eventflowdb answered '-WRONGPASS ")
        assert server.terminate() == -signal.SIGTERM
        assert "EventflowDB has stopped" in server.output
    status, printed = container.health(PASSWORD="open sesame")
    assert status == 1
    assert "Connection refused" in printed
    assert printed.count("\n") == 1


def test_health_takes_the_password_from_a_file(container: Container) -> None:
    secret = container.folder / "secret"
    secret.write_text("open sesame\n", encoding="utf-8")
    with container.start(PASSWORD_FILE=str(secret)):
        assert container.health(PASSWORD_FILE=str(secret)) == (0, "")
        # Without one the server wants it all the same.
        assert container.health(ALLOW_NO_PASSWORD="yes")[0] == 1


def test_health_needs_no_password_where_the_server_needs_none(container: Container) -> None:
    with container.start(ALLOW_NO_PASSWORD="yes"):
        assert container.health(ALLOW_NO_PASSWORD="yes") == (0, "")


@contextmanager
def impostor(port: int, answer: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something on the port that is not the server; takes one connection."""
    with socket.create_server(("127.0.0.1", port)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


def test_health_is_bad_where_nobody_answers_or_something_else_does(container: Container) -> None:
    port = int(container.environment["PORT"])
    # A server that hangs: the socket is read until the health check gives up.
    with impostor(port, lambda connection: [None for _ in iter(lambda: connection.recv(4096), b"")]):
        status, printed = container.health(ALLOW_NO_PASSWORD="yes")
    assert (status, printed.count("\n")) == (1, 1)
    with impostor(port, lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")):
        status, printed = container.health(ALLOW_NO_PASSWORD="yes")
    assert (status, printed) == (1, "eventflowdb answered 'HTTP/1.1 400 Bad Request'\n")


def test_plugin_cache_of_the_image_holds_the_server(
    image: list[Instruction], installation: Installation, container: Container
) -> None:
    build = next(instruction for instruction in image if instruction.word == "RUN" and "getPlugins" in instruction.rest)
    (cache,) = installation.venv.glob("lib/python*/site-packages/twisted/plugins/dropin.cache")
    cache.unlink()
    run(build.exec_form, container.folder, container.environment)
    built = cache.stat()
    with container.start(PASSWORD="open sesame"):
        assert b"eventflowdb" in cache.read_bytes()
        # The unprivileged user could not have written it.
        assert cache.stat().st_mtime_ns == built.st_mtime_ns


def test_compose_file_is_valid() -> None:
    # The schema of the Compose Specification, as check-jsonschema ships it.
    run([sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)], ROOT)


def test_compose_requires_a_password(service: Any) -> None:
    assert service["environment"]["PASSWORD"].startswith("${PASSWORD:?")


def test_compose_keeps_the_data_in_a_named_volume(service: Any, image: list[Instruction]) -> None:
    (mount,) = service["volumes"]
    name, _, target = mount.partition(":")
    assert target == the_only(image, "VOLUME").rest
    assert name in yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))["volumes"]


def test_compose_publishes_the_port_on_this_machine_alone(service: Any, image: list[Instruction]) -> None:
    port = the_only(image, "EXPOSE").rest
    assert service["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_compose_restarts_rotates_and_confines(service: Any) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["driver"] == "json-file"
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # The image's own command and health check are the ones that were tried above.
    assert not {"command", "entrypoint", "healthcheck", "user"} & set(service)
