"""The folder of a database: how it is made, who owns it, and where it may lie."""

import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import eventflowdb
from eventflowdb.errors import StartRefused
from eventflowdb.storage.folder import LOCK_NAME, DataFolder, file_system_of

CLAIM = """
import sys
from pathlib import Path
from eventflowdb.errors import StartRefused
from eventflowdb.storage.folder import DataFolder
try:
    folder = DataFolder.claim(Path(sys.argv[1]))
except StartRefused as refusal:
    print("refused:", refusal, flush=True)
else:
    print("claimed", flush=True)
"""
AND_HOLD = CLAIM + "    sys.stdin.read()\n"
AND_LEAVE_TO_A_CHILD = (
    CLAIM
    + """
    import os
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        sys.stdin.read()
"""
)


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def start(script: str, path: Path) -> "subprocess.Popen[str]":
    """A process that runs a script on a folder; it ends when its standard input does."""
    return subprocess.Popen(
        [sys.executable, "-c", script, os.fspath(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(eventflowdb.__file__).parents[1],
    )


def next_line(process: "subprocess.Popen[str]") -> str:
    """What the process says next; blocks until it does."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def require_refused(path: Path, *words: str, mountinfo: Path | None = None) -> None:
    """Claiming the folder is refused in one line that holds the words."""
    with pytest.raises(StartRefused) as caught:
        DataFolder.claim(path) if mountinfo is None else DataFolder.claim(path, mountinfo)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    assert text.startswith(f"DATA {path} ")
    assert all(word in text for word in words), text


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_a_claimed_folder_and_its_lock_are_for_their_owner_alone(tmp_path: Path, umask: int) -> None:
    former = os.umask(umask)
    try:
        DataFolder.claim(tmp_path / "a" / "b").release()
    finally:
        os.umask(former)
    assert mode_of(tmp_path / "a" / "b") == 0o700
    assert mode_of(tmp_path / "a" / "b" / LOCK_NAME) == 0o600


def test_a_folder_that_exists_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    (tmp_path / "something").write_text("else")
    DataFolder.claim(tmp_path).release()
    assert mode_of(tmp_path) == 0o750
    assert (tmp_path / "something").read_text() == "else"


def test_a_second_claim_is_refused_until_the_first_is_released(tmp_path: Path) -> None:
    first = DataFolder.claim(tmp_path)
    require_refused(tmp_path, "in use by another server")
    first.release()
    DataFolder.claim(tmp_path).release()


def test_of_servers_that_make_the_folder_at_once_one_owns_it_and_the_others_find_it_in_use(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def claim(path: Path) -> DataFolder | str:
        together.wait()
        try:
            return DataFolder.claim(path)
        except StartRefused as refusal:
            return str(refusal)

    with ThreadPoolExecutor(4) as servers:
        for attempt in range(10):
            claims = list(servers.map(claim, [tmp_path / f"{attempt}" / "data"] * 4))
            (owned,) = [found for found in claims if isinstance(found, DataFolder)]
            refused = [found for found in claims if isinstance(found, str)]
            assert [" is in use by another server; " in found for found in refused] == [True] * 3
            owned.release()


def test_a_refused_claim_does_not_release_that_of_the_owner(tmp_path: Path) -> None:
    first = DataFolder.claim(tmp_path)
    require_refused(tmp_path)
    require_refused(tmp_path)
    first.release()


def test_another_process_is_refused_while_the_folder_is_owned(tmp_path: Path) -> None:
    folder = DataFolder.claim(tmp_path)
    with start(CLAIM, tmp_path) as process:
        assert next_line(process).startswith(f"refused: DATA {tmp_path} is in use by another server")
    folder.release()
    with start(CLAIM, tmp_path) as process:
        assert next_line(process) == "claimed"


def test_a_folder_is_free_again_when_its_owner_was_killed(tmp_path: Path) -> None:
    with start(AND_HOLD, tmp_path) as process:
        assert next_line(process) == "claimed"
        require_refused(tmp_path, "in use by another server")
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    DataFolder.claim(tmp_path).release()


def test_a_forked_child_owns_the_folder_after_its_parent_has_ended(tmp_path: Path) -> None:
    with start(AND_LEAVE_TO_A_CHILD, tmp_path) as process:
        assert next_line(process) == "claimed"
        child = int(next_line(process))
        assert process.wait() == 0
        require_refused(tmp_path, "in use by another server")
        os.kill(child, signal.SIGKILL)
    lock_fd = os.open(tmp_path / LOCK_NAME, os.O_RDWR)
    # The child is nobody's to wait for, but its lock is: this blocks until the kernel has let go of it.
    fcntl.flock(lock_fd, fcntl.LOCK_EX)
    os.close(lock_fd)
    DataFolder.claim(tmp_path).release()


def test_a_program_that_the_owner_runs_does_not_inherit_the_lock(tmp_path: Path) -> None:
    folder = DataFolder.claim(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False):
        folder.release()
        DataFolder.claim(tmp_path).release()


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_refused(tmp_path / "file", "cannot be used: it is a file; give a folder, which is made if absent")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    require_refused(tmp_path / "file" / "folder", "cannot be used: Not a directory")
    require_refused(Path("/proc/eventflowdb"), "cannot be used: ")
    require_refused(tmp_path / ("x" * 300), "cannot be used: File name too long")


def test_a_folder_whose_lock_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    require_refused(tmp_path, "cannot be used: Is a directory")


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    """A list of mounts that a test writes itself."""
    return tmp_path / "mountinfo"


def mount_line(mount_point: str, kind: str, options: str = "shared:1 ") -> str:
    """One line of proc_pid_mountinfo(5)."""
    return f"36 35 98:0 / {mount_point} rw,noatime {options}- {kind} server:/export rw,vers=4.2\n"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "9p", "fuse.sshfs", "ceph"])
def test_a_folder_on_a_network_file_system_is_refused(tmp_path: Path, mountinfo: Path, kind: str) -> None:
    mountinfo.write_text(mount_line("/", "ext4") + mount_line(os.fspath(tmp_path), kind))
    require_refused(tmp_path / "folder", f"is on a network file system ({kind})", mountinfo=mountinfo)
    assert not (tmp_path / "folder" / LOCK_NAME).exists()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"])
def test_a_folder_on_a_local_file_system_is_taken(tmp_path: Path, mountinfo: Path, kind: str) -> None:
    mountinfo.write_text(mount_line("/", "nfs4") + mount_line(os.fspath(tmp_path), kind))
    DataFolder.claim(tmp_path / "folder", mountinfo).release()


def test_a_folder_is_taken_where_the_system_does_not_list_its_mounts(tmp_path: Path) -> None:
    DataFolder.claim(tmp_path / "folder", tmp_path / "absent").release()


def test_the_file_system_is_that_of_the_closest_mount_above(tmp_path: Path, mountinfo: Path) -> None:
    lines = [("/", "ext4"), (f"{tmp_path}/a", "xfs"), (f"{tmp_path}/a/b", "nfs4"), (f"{tmp_path}/ab", "cifs")]
    mountinfo.write_text("".join(mount_line(point, kind) for point, kind in lines))
    found = [file_system_of(tmp_path / place, mountinfo) for place in (".", "a", "a/c", "a/b", "a/b/c", "ab", "abc")]
    assert found == ["ext4", "xfs", "xfs", "nfs4", "nfs4", "cifs", "ext4"]


def test_of_two_mounts_on_one_point_the_later_one_counts(tmp_path: Path, mountinfo: Path) -> None:
    mountinfo.write_text(mount_line(os.fspath(tmp_path), "nfs4") + mount_line(os.fspath(tmp_path), "ext4"))
    assert file_system_of(tmp_path / "folder", mountinfo) == "ext4"


def test_a_link_is_followed_to_the_file_system_of_its_target(tmp_path: Path, mountinfo: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "remote")
    mountinfo.write_text(mount_line("/", "ext4") + mount_line(f"{tmp_path}/remote", "nfs4"))
    assert file_system_of(tmp_path / "link" / "folder", mountinfo) == "nfs4"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("with space", "with\\040space"),
        ("with\ttab", "with\\011tab"),
        ("with\nline", "with\\012line"),
        ("back\\slash", "back\\134slash"),
        ("looks\\040escaped", "looks\\134040escaped"),
        ("form\x0cfeed\u2028", "form\x0cfeed\u2028"),
        ("zażółć", "zażółć"),
    ],
    ids=ascii,
)
def test_mount_points_are_unescaped(tmp_path: Path, mountinfo: Path, name: str, escaped: str) -> None:
    mountinfo.write_text(mount_line("/", "ext4") + mount_line(f"{tmp_path}/{escaped}", "nfs4"))
    assert file_system_of(tmp_path / name / "folder", mountinfo) == "nfs4"
    assert file_system_of(tmp_path, mountinfo) == "ext4"


@pytest.mark.parametrize("options", ["", "shared:1 ", "shared:1 master:2 "])
def test_any_number_of_optional_fields_may_stand_before_the_type(mountinfo: Path, options: str) -> None:
    mountinfo.write_text(mount_line("/", "nfs4", options))
    assert file_system_of(Path("/anywhere"), mountinfo) == "nfs4"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has /proc/self/mountinfo")
def test_the_system_lists_its_mounts_as_expected() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
