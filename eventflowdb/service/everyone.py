"""A front that speaks for the whole server: INFO, CLIENT LIST and KILL, SLOWLOG, CONFIG RESETSTAT, MONITOR.

Theory of operation. The front does its own part, which also checks the words, and asks the others through the core
(fronts.py). A process that does not answer in time is left out; INFO says how many did not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count

import msgspec
from twisted.logger import Logger
from twisted.python.failure import Failure

from eventflowdb.commands.spec import CommandSpec
from eventflowdb.commands.table import COMMANDS
from eventflowdb.service import questions
from eventflowdb.service.assembly import Parts
from eventflowdb.service.clients import Clients
from eventflowdb.service.dispatch import Responder
from eventflowdb.service.faults import error_of
from eventflowdb.service.figures import FRONT_SECTIONS, REQUIRED, figures_of, merged, process_facts
from eventflowdb.service.forwarding import CoreLink
from eventflowdb.service.fronts import RemotePeer
from eventflowdb.service.handshake import killed_value
from eventflowdb.service.notices import Notices
from eventflowdb.service.operations import read_count, slow_value
from eventflowdb.service.outbox import Outbox
from eventflowdb.service.questions import (
    KillClients,
    ListClients,
    Question,
    ResetStatistics,
    TellFigures,
    TellSlow,
    Told,
    encode_question,
)
from eventflowdb.service.reply import PendingReply, Reply
from eventflowdb.service.session import Session
from eventflowdb.service.statistics import SlowCommand
from eventflowdb.wire import links, replies
from eventflowdb.wire.links import Frame
from eventflowdb.wire.values import Simple, Value, Verbatim, encode

Words = Sequence[bytes]
_encode = msgspec.msgpack.Encoder().encode
FORWARDED = ("ACK", "NACK", "CONSUMER", "FETCH", "VERIFY", "UPTIME")
"""What the core does as the client says it: its arguments are decoded there."""
FRONT_COMMANDS: Mapping[str, CommandSpec] = {
    name: replace(spec, decode=None) if name in FORWARDED else spec for name, spec in COMMANDS.items()
}


class Everyone:
    """What the front of this name asks of the others, and answers when they ask.

    index, fronts: which front it is, of how many. parts: set when its dispatcher is put together.
    """

    _log = Logger()

    def __init__(self, index: int, fronts: int, clients: Clients, outbox: Outbox, notices: Notices) -> None:
        self._index = index
        self._fronts = fronts
        self._clients = clients
        self._outbox = outbox
        self._notices = notices
        self._numbers = count(1)
        self._asking: dict[int, Callable[[Told], None]] = {}
        self._elsewhere = Session(0, "", "", True, 0.0)
        """Stands for the monitors of other fronts."""
        self._elsewhere.peer = RemotePeer(lambda line: outbox.put(links.encode_frame(links.SHOWN, 0, line)))
        self._has_monitors = False
        self._parts: Parts

    def responders(self, core: CoreLink) -> Callable[[Parts], Mapping[str, Responder]]:
        """What answers in a front where the table of one process does not do."""

        def make(parts: Parts) -> Mapping[str, Responder]:
            self._parts = parts
            return {
                **dict.fromkeys(("ADD", "ADDMANY"), core.append),
                **dict.fromkeys(("ACK", "NACK"), core.settle),
                **dict.fromkeys(("CONSUMER", "UPTIME"), core.read),
                "FETCH": core.wait,
                "VERIFY": core.long_work,
                "INFO": self.info,
                "CLIENT": self.client,
                "SLOWLOG": self.slowlog,
                "CONFIG": self.config,
                "MONITOR": self.monitor,
                "RESET": self.reset,
            }

        return make

    # Responders.

    def info(self, session: Session, words: Words) -> Reply:
        """INFO [section ...]."""
        wished = [word.decode("utf-8", "replace").lower() for word in words[1:]]
        names = self._parts.information.chosen(wished)
        shows_processes = not wished or not {"default", "all", "everything", "processes"}.isdisjoint(wished)

        def tell(told: Told) -> bytes:
            processes = [self._figures(names)]
            for answer in told.answers:
                processes += questions.decode_figures(answer)
            sections = merged(processes, names)
            if shows_processes:
                sections["processes"] = process_facts(processes, told.missing)
            return encode(Verbatim(self._parts.information.text_of(sections)), session.protocol)

        return self._ask(TellFigures(names), tell)

    def client(self, session: Session, words: Words) -> Reply:
        """CLIENT subcommand ...: LIST and KILL are about the clients of all fronts."""
        handshake = self._parts.handshake
        subcommand = words[1].lower()
        if subcommand == b"list":
            own = handshake.lines(words)

            def show(told: Told) -> bytes:
                lines = dict(own)
                for answer in told.answers:
                    lines.update(questions.decode_lines(answer))
                text = "".join([f"{lines[number]}\n" for number in sorted(lines)])
                return encode(Verbatim(text), session.protocol)

            return self._ask(ListClients(list(words)), show)
        if subcommand == b"kill" and len(words) > 2:
            killed = handshake.kill(session, words)

            def tell(told: Told) -> bytes:
                total = killed + sum([questions.decode_count(answer) for answer in told.answers])
                return encode(killed_value(words, total), session.protocol)

            return self._ask(KillClients(list(words)), tell)
        return handshake.client(session, words)

    def slowlog(self, session: Session, words: Words) -> Reply:
        """SLOWLOG GET, LEN and RESET."""
        subcommand = words[1].lower()
        if subcommand not in (b"get", b"len", b"reset") or (subcommand != b"get" and len(words) > 2):
            return self._parts.operations.slowlog(session, words)
        count = read_count(words)

        def tell(told: Told) -> bytes:
            slow = self._slow()
            if subcommand == b"reset":
                self._parts.statistics.slow.clear()
                return replies.OK
            for answer in told.answers:
                slow += questions.decode_slow(answer)
            slow.sort(key=lambda entry: entry.ended_at, reverse=True)
            value: Value = len(slow) if subcommand == b"len" else slow_value(slow, count)
            return encode(value, session.protocol)

        return self._ask(TellSlow(subcommand == b"reset"), tell)

    def config(self, session: Session, words: Words) -> Reply:
        """CONFIG: RESETSTAT is for all, and all have the same settings."""
        reply = self._parts.operations.config(session, words)
        if words[1].lower() == b"resetstat":
            return self._ask(ResetStatistics(), lambda told: encode(Simple("OK"), session.protocol))
        return reply

    def monitor(self, session: Session, words: Words) -> Reply:
        """MONITOR: shows the commands of all fronts."""
        reply = self._parts.operations.monitor(session, words)
        self.monitors_changed()
        return reply

    def reset(self, session: Session, words: Words) -> Reply:
        """RESET, which ends a MONITOR."""
        reply = self._parts.handshake.reset(session, words)
        self.monitors_changed()
        return reply

    def monitors_changed(self) -> None:
        """Tell the core if this front has got its first MONITOR, or lost its last."""
        has_monitors = bool(self._clients.monitors - {self._elsewhere})
        if has_monitors is not self._has_monitors:
            self._has_monitors = has_monitors
            self._outbox.put(links.encode_frame(links.MONITORS, int(has_monitors)))

    # The core's side.

    def take(self, frame: Frame) -> None:
        """A frame of the core that answers no request."""
        if frame.kind == links.GREW:
            self._notices.log_grew(links.decode_grew(frame))
        elif frame.kind == links.ASK:
            self._answer(frame)
        elif frame.kind == links.TOLD:
            self._asking.pop(frame.number)(questions.decode_told(frame.body))
        elif frame.kind == links.MONITORS:
            (self._clients.monitors.add if frame.number else self._clients.monitors.discard)(self._elsewhere)
        elif frame.kind == links.SHOWN:
            for monitor in self._clients.monitors - {self._elsewhere}:
                if monitor.peer is not None:
                    monitor.peer.push(frame.body)

    def _ask(self, question: Question, tell: Callable[[Told], bytes]) -> Reply:
        """Ask all others, and answer the client when they have."""
        reply = PendingReply()
        reply.is_read = True
        number = next(self._numbers)

        def told(answers: Told) -> None:
            try:
                value = tell(answers)
            except Exception:
                value = replies.error(error_of(Failure(), self._log, "the processes could not be asked"))
            reply.settle(value)

        self._asking[number] = told
        self._outbox.put(links.encode_frame(links.ASK, number, encode_question(question)))
        return reply

    def _answer(self, frame: Frame) -> None:
        try:
            answer = _encode(self._answer_to(questions.decode_question(frame.body)))
        except Exception:
            self._log.failure("a question of another process could not be answered")
            return
        self._outbox.put(links.encode_frame(links.TOLD, frame.number, answer))

    def _answer_to(self, question: Question) -> object:
        match question:
            case ListClients():
                return self._parts.handshake.lines(question.words)
            case KillClients():
                return self._parts.handshake.kill(None, question.words)
            case TellFigures():
                return [self._figures(question.sections)]
            case TellSlow():
                slow = self._slow()
                if question.forgets:
                    self._parts.statistics.slow.clear()
                return slow
            case _:
                self._parts.statistics.reset()
                return 0

    def _figures(self, names: Sequence[str]) -> questions.ProcessFigures:
        wanted = [name for name in FRONT_SECTIONS if name in names or name in REQUIRED]
        sections = self._parts.information.facts(wanted)
        own = {name: dict(facts) for name, facts in sections.items()}
        own["clients"]["monitor_clients"] = len(self._clients.monitors - {self._elsewhere})
        return figures_of(f"front_{self._index + 1}", own, self._parts.statistics)

    def _slow(self) -> list[SlowCommand]:
        """Numbered as no other front numbers its own."""
        return [
            entry._replace(number=entry.number * self._fronts + self._index) for entry in self._parts.statistics.slow
        ]
