"""What the supervisor and its children tell each other: small messages over a pair of sockets, the child's is stdin.

The first message to a child is its Start, so that no secret stands in a command line or an environment. Then comes
nothing but Stop, and to the core a Front for each new front, with the descriptor of its link. A child tells that it is
ready, that the storage failed, or that a client wants the server to end. When the supervisor is gone, however it
ended, the child reads the end of the stream, and stops as it does at a Stop.
"""

import os
import socket
from pathlib import Path
from typing import Any

import msgspec

from eventflowdb.config import Settings

_MESSAGE_BYTES_MAX = 192 * 1024
_DESCRIPTORS_MAX = 4


class Start(msgspec.Struct, tag="start", kw_only=True):
    """What a child needs to begin. index: of a front, -1: the core. Descriptors are numbers that the child inherits.

    slots: the memory that the fronts share; link: a front's to the core; reactor: the one twistd was told to use. The
    lock of DATA is inherited as well, so that it stays owned until the last process has ended.
    """

    settings: Settings
    index: int
    supervisor: int
    port: int
    clients_max: int
    reactor: str | None
    listener: int = -1
    slots: int = -1
    link: int = -1


class Stop(msgspec.Struct, tag="stop"):
    """To a child: finish, and end."""


class Front(msgspec.Struct, tag="front"):
    """To the core, with a descriptor: the link of a front."""

    index: int


class Ready(msgspec.Struct, tag="ready"):
    """From a child: it does its work. events: how many the log holds."""

    events: int


class Failed(msgspec.Struct, tag="failed"):
    """From the core: what the disk holds is not known any more."""

    text: str


class Refused(msgspec.Struct, tag="refused"):
    """From a child: it cannot start."""

    text: str


class ShutDown(msgspec.Struct, tag="shutdown"):
    """From the core: a client asks for the end of the server."""


Message = Start | Stop | Front | Ready | Failed | Refused | ShutDown


def _decode_path(wanted: type, value: Any) -> Any:
    return Path(os.fsdecode(value.encode("latin-1"))) if wanted is Path else value


_encoder = msgspec.msgpack.Encoder(enc_hook=lambda path: os.fsencode(path).decode("latin-1"))
_decoder = msgspec.msgpack.Decoder(Message, dec_hook=_decode_path)


def control_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends, of which each message comes out as it was put in."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(control: socket.socket, message: Message, descriptor: int | None = None) -> bool:
    """Send a message; False where the other end is gone."""
    try:
        socket.send_fds(control, [_encoder.encode(message)], [] if descriptor is None else [descriptor])
    except OSError:
        return False
    return True


def receive(control: socket.socket) -> tuple[Message | None, list[int]]:
    """The next message and the descriptors with it, when it comes; None at the end."""
    try:
        data, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES_MAX, _DESCRIPTORS_MAX)
    except OSError:
        return None, []
    return (_decoder.decode(data) if data else None), descriptors
