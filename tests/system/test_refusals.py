"""A server that cannot run says why in one line, and ends with status 1: in the foreground and as a daemon."""

import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import lmdb
import pytest

from eventflowdb import __version__
from eventflowdb.storage import layout
from tests.conftest import StartServer
from tests.system.installation import Installation
from tests.system.server import Server, is_running

pytestmark = pytest.mark.system


@dataclass(frozen=True, slots=True)
class Site:
    """Where a case is set up: its folder, the environment variables it may change, and what ends with the test."""

    folder: Path
    installation: Installation
    settings: dict[str, str]
    ending: ExitStack

    @property
    def data(self) -> Path:
        """DATA."""
        return self.folder / "data"

    def start(self) -> Server:
        """A server that runs, on DATA."""
        server = self.ending.enter_context(Server.of(self.installation, self.folder, {}))
        assert server.port
        return server


@pytest.fixture
def site(installation: Installation, tmp_path: Path) -> Iterator[Site]:
    """A site with settings that a server would run with."""
    with ExitStack() as ending:
        yield Site(tmp_path, installation, {"PORT": "0", "DATA": str(tmp_path / "data")}, ending)


def folder_in_use(site: Site) -> str:
    site.start()
    return f"DATA {site.data} is in use by another server; stop that one, or give this one a folder of its own"


def newer_format(site: Site) -> str:
    server = site.start()
    server.terminate()
    with lmdb.open(str(site.data), max_dbs=16) as environment:
        meta = environment.open_db(layout.META, create=False)
        with environment.begin(write=True) as txn:
            txn.put(layout.FORMAT_KEY, layout.pack_format(layout.FORMAT + 1), db=meta)
    return f"DATA {site.data} is of format {layout.FORMAT + 1}, and this server knows format {layout.FORMAT}; "


def foreign_database(site: Site) -> str:
    site.data.mkdir()
    with lmdb.open(str(site.data), max_dbs=1) as environment, environment.begin(write=True) as txn:
        txn.put(b"somebody's", b"data")
    return f"DATA {site.data} holds an LMDB database that is not EventflowDB's"


def no_database(site: Site) -> str:
    site.data.mkdir()
    (site.data / "data.mdb").write_bytes(b"not a database at all" * 1000)
    return f"DATA {site.data} cannot be opened as a database: "


def file_as_folder(site: Site) -> str:
    site.data.write_text("not a folder")
    return f"DATA {site.data} cannot be used: "


def folder_below_file(site: Site) -> str:
    (site.folder / "file").write_text("not a folder")
    site.settings["DATA"] = str(site.folder / "file" / "data")
    return f"DATA {site.folder}/file/data cannot be used: Not a directory"


def folder_with_a_line_break_in_its_name(site: Site) -> str:
    (site.folder / "file").write_text("not a folder")
    site.settings["DATA"] = str(site.folder / "file" / "da\nta")
    return f"DATA {site.folder}/file/da\\nta cannot be used: Not a directory"


def folder_nobody_can_make(site: Site) -> str:
    # Not even root, who may write in any other folder.
    site.settings["DATA"] = "/proc/eventflowdb"
    return "DATA /proc/eventflowdb cannot be used: "


def port_in_use(site: Site) -> str:
    listener = site.ending.enter_context(socket.create_server(("127.0.0.1", 0)))
    port = listener.getsockname()[1]
    site.settings["PORT"] = str(port)
    return f"PORT {port} on 127.0.0.1 is in use by another program; "


def address_of_another_machine(site: Site) -> str:
    # TEST-NET-3 of RFC 5737: no machine has it.
    site.settings.update(INTERFACE="203.0.113.1", PASSWORD="open sesame", PORT="6543")
    return "PORT 6543 on 203.0.113.1 cannot be listened on: "


def bad_number(site: Site) -> str:
    site.settings["MAX_CLIENTS"] = "many"
    return "MAX_CLIENTS (--max-clients): expected a whole number from 1 to 1000000, got 'many'"


def empty_password(site: Site) -> str:
    site.settings["PASSWORD"] = ""
    return "PASSWORD (--password): is empty; "


def missing_password_file(site: Site) -> str:
    site.settings["PASSWORD_FILE"] = str(site.folder / "secret")
    return f"PASSWORD_FILE {site.folder}/secret cannot be read: No such file or directory"


def no_password_beyond_loopback(site: Site) -> str:
    site.settings["INTERFACE"] = "0.0.0.0"
    return "INTERFACE 0.0.0.0 is reachable from other machines and there is no password: "


CASES = (
    folder_in_use,
    newer_format,
    foreign_database,
    no_database,
    file_as_folder,
    folder_below_file,
    folder_with_a_line_break_in_its_name,
    folder_nobody_can_make,
    port_in_use,
    address_of_another_machine,
    bad_number,
    empty_password,
    missing_password_file,
    no_password_beyond_loopback,
)


def twistd(site: Site, *arguments: str) -> tuple[int, str]:
    """Run twistd where it has to end by itself; gives its status and all it printed."""
    ended = subprocess.run(
        ["twistd", *arguments],
        cwd=site.folder,
        env=site.installation.environment(**site.settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout


def processes_with(argument: str) -> list[int]:
    """The processes that were started with this argument."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argument.encode() in arguments and is_running(int(process.name)):
            found.append(int(process.name))
    return found


@pytest.mark.parametrize("set_up", CASES)
def test_refusal_in_the_foreground_is_one_line_and_status_1(site: Site, set_up: Callable[[Site], str]) -> None:
    expected = set_up(site)
    status, printed = twistd(site, "-n", "--pidfile=", "eventflowdb")
    assert printed.startswith(f"eventflowdb: {expected}")
    assert printed.count("\n") == 1
    assert status == 1


@pytest.mark.parametrize("set_up", CASES)
def test_refusal_of_a_daemon_is_the_same_and_leaves_nothing_behind(site: Site, set_up: Callable[[Site], str]) -> None:
    expected = set_up(site)
    pid_file, log_file = site.folder / f"{uuid.uuid4()}.pid", site.folder / "log"
    status, printed = twistd(site, f"--pidfile={pid_file}", f"--logfile={log_file}", "eventflowdb")
    assert printed.startswith(f"eventflowdb: {expected}")
    assert printed.count("\n") == 1
    assert status == 1
    assert not pid_file.exists()
    assert not log_file.exists()
    assert processes_with(f"--pidfile={pid_file}") == []


def test_wrong_option_is_refused_in_one_line(site: Site) -> None:
    status, printed = twistd(site, "-n", "--pidfile=", "eventflowdb", "--prot=6543")
    assert printed == "eventflowdb: option --prot not recognized; twistd eventflowdb --help lists the options\n"
    assert status == 1


def test_words_beside_the_options_are_refused_in_one_line(site: Site) -> None:
    status, printed = twistd(site, "-n", "--pidfile=", "eventflowdb", "extra", "words")
    said = "eventflowdb: 'extra' is no option: each begins with --; twistd eventflowdb --help lists the options\n"
    assert (status, printed) == (1, said)


def test_it_tells_its_version(site: Site) -> None:
    status, printed = twistd(site, "eventflowdb", "--version")
    assert status == 0
    assert printed.startswith(f"EventflowDB {__version__}, Twisted ")


def test_option_beats_the_environment(site: Site) -> None:
    site.settings["PORT"] = "0"
    status, printed = twistd(site, "-n", "--pidfile=", "eventflowdb", "--port=99999")
    assert printed == "eventflowdb: PORT (--port): expected a whole number from 0 to 65535, got '99999'\n"
    assert status == 1


def test_help_lists_every_setting_with_its_default(site: Site) -> None:
    status, printed = twistd(site, "eventflowdb", "--help")
    assert status == 0
    assert "--max-request-bytes=" in printed
    assert "[default: 16MiB]" in printed


def test_folder_is_free_again_when_its_server_was_killed(start_server: StartServer) -> None:
    first = start_server()
    with first.connect() as connection:
        connection.add(str(uuid.uuid4()), 0, {"type": "t", "data": "d"})
    first.kill()
    second = start_server()
    with second.connect() as connection:
        assert connection.count() == 1
