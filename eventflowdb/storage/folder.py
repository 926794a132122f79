"""The folder of a database: made, judged fit, and owned by one server at a time."""

import fcntl
import os
from pathlib import Path

from eventflowdb.errors import StartRefused

LOCK_NAME = "lock"
_MOUNTINFO = Path("/proc/self/mountinfo")
# LMDB's readers share memory through a mapped file, and flock and fsync mean little over a network.
_NETWORK_FILE_SYSTEMS = frozenset(
    "nfs nfs3 nfs4 cifs smb3 smbfs 9p afs ceph lustre gpfs ocfs2 gfs2 beegfs vboxsf prl_fs "
    "fuse.sshfs fuse.glusterfs fuse.ceph fuse.s3fs fuse.rclone fuse.juicefs".split()
)


class DataFolder:
    """A folder whose `lock` file this process, or the one it was forked from, holds by flock."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def claim(cls, path: Path, mountinfo: Path = _MOUNTINFO) -> "DataFolder":
        """Make the folder if absent (0700) and own it; StartRefused, in one line, where that cannot be.

        The lock is inherited over a fork and ends with the last process that holds it, however it ends.
        mountinfo: where the system lists its mounts.
        """
        try:
            _make_folder(path)
            kind = file_system_of(path, mountinfo)
            if kind in _NETWORK_FILE_SYSTEMS:
                raise StartRefused(
                    f"DATA {path} is on a network file system ({kind}), where locks and fsync cannot be "
                    "relied on; put it on a local disk"
                )
            lock_fd = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError as error:
            raise StartRefused(
                f"DATA {path} cannot be used: it is a file; give a folder, which is made if absent"
            ) from error
        except OSError as error:
            raise StartRefused(f"DATA {path} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock_fd)
            raise StartRefused(
                f"DATA {path} is in use by another server; stop that one, or give this one a folder of its own"
            ) from error
        return cls(path, lock_fd)

    @property
    def descriptor(self) -> int:
        """The descriptor that holds the lock, for processes that are to inherit it."""
        return self._lock_fd

    def release(self) -> None:
        """Let another server have the folder."""
        os.close(self._lock_fd)


def is_owned(path: Path) -> bool:
    """Whether a server owns the folder now. OSError."""
    if not (path / LOCK_NAME).exists():
        return False
    lock_fd = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock_fd)
    return False


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable: fsync of a new file does not cover its directory entry."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_system_of(path: Path, mountinfo: Path = _MOUNTINFO) -> str | None:
    """The type of the file system that holds `path` ("ext4"); None where the system does not say.

    The format is proc_pid_mountinfo(5): the fifth field is the mount point, the type follows a lone "-".
    """
    try:
        # Not splitlines(): a mount point may hold what Unicode counts as line ends, only \n is escaped.
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").rstrip("\n").split("\n")
    except OSError:
        return None
    target = path.resolve()
    best_length, best_kind = -1, None
    for line in lines:
        fields = line.split(" ")
        mount_point = Path(_unescape(fields[4]))
        length = len(mount_point.parts)
        # Of two mounts on one point the later one is the visible one.
        if length >= best_length and (target == mount_point or mount_point in target.parents):
            best_length, best_kind = length, fields[fields.index("-") + 1]
    return best_kind


def _make_folder(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
    if not missing:
        return
    # Another server may be making it at this moment; which of them has it is the lock's to say.
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def _unescape(mount_point: str) -> str:
    for octal, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount_point = mount_point.replace(octal, character)
    return mount_point
