"""CONSUMER, FETCH, ACK, NACK and `checkpoint` on a real server: over a raw socket, redis-py and redis-cli."""

import json
import subprocess
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from tests.conftest import StartServer
from tests.system.resp import Connection, Refusal, Reply, encode, records
from tests.system.server import Server

pytestmark = pytest.mark.system

NAME = "mail"
STREAM = "0d5f7a31-63f4-4b0c-9c53-0e6a1d6f7b01"
OTHER = "0d5f7a31-63f4-4b0c-9c53-0e6a1d6f7b02"
RESULTS = "0d5f7a31-63f4-4b0c-9c53-0e6a1d6f7b03"
UNKNOWN = "01JD3V6T0000000000000000AA"


class Member:
    """One member of the consumer; events are called by their data."""

    def __init__(self, connection: Connection, name: str = "m") -> None:
        self.connection = connection
        self.name = name
        self.ids: dict[str, str] = {}

    def ask(self, command: str, **argument: Any) -> Reply:
        """One request; a refusal is raised."""
        return self.connection.call(command, json.dumps(argument))

    def asked(self, command: str, **argument: Any) -> Reply:
        """The same as this member."""
        return self.ask(command, consumer=NAME, member=self.name, **argument)

    def fetch(self, **options: Any) -> list[str]:
        """FETCH."""
        found = [json.loads(record) for record in records(self.asked("FETCH", **options))]
        self.ids.update({event["data"]: event["id"] for event in found})
        return [event["data"] for event in found]

    def settle(self, command: str, *names: str, **options: Any) -> Reply:
        """ACK or NACK."""
        return self.asked(command, ids=[self.ids[name] for name in names], **options)

    def adding(self, name: str, **options: Any) -> dict[str, Any]:
        """The argument of an ADD of a result that acks an event."""
        checkpoint = {"consumer": NAME, "member": self.name, "id": self.ids[name]}
        events = [{"type": "result", "data": f"of {name}"}]
        return {"stream": RESULTS, "version": "any", "events": events, "checkpoint": checkpoint, **options}

    def make(self, **options: Any) -> Any:
        """Make the consumer."""
        return described(self.ask("CONSUMER", create=NAME, query={"types": ["t"]}, **options))

    def listed(self) -> Any:
        """The consumer as LIST has it."""
        (item,) = records(self.connection.call("CONSUMER", "LIST"))
        return described(item)

    def parked(self, **page: Any) -> list[Any]:
        """What was parked."""
        return [described(item) for item in records(self.ask("CONSUMER", parked=NAME, **page))]


def described(reply: Reply) -> Any:
    """A bulk string that is JSON."""
    assert isinstance(reply, bytes)
    return json.loads(reply)


def have(connection: Connection, stream: str, *names: str) -> None:
    """Append events."""
    add = {"stream": stream, "version": "any", "events": [{"type": "t", "data": name} for name in names]}
    connection.call("ADD", json.dumps(add))


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    """A connection to a server that holds nothing."""
    with server.connect() as connection:
        yield connection


@pytest.fixture
def member(connection: Connection) -> Member:
    """A member of a consumer that was just made; two streams have events."""
    member = Member(connection)
    member.make(retry_ms=0)
    have(connection, STREAM, "a", "b", "c")
    have(connection, OTHER, "x")
    return member


def test_a_consumer_is_made_once_and_told_of_as_it_is(connection: Connection) -> None:
    member = Member(connection)
    made = member.make(timeout_ms=500, tries_max=2)
    assert made == {
        "consumer": NAME,
        "query": {"types": ["t"]},
        "timeout_ms": 500,
        "retry_ms": 1000,
        "tries_max": 2,
        "checkpoint": "0" * 26,
    }
    assert member.make(timeout_ms=500, tries_max=2) == made
    nothing = {"lag": 0, "lag_is_whole": True, "lag_ms": 0, "in_flight": 0, "members": 0, "parked": 0, "holding": []}
    assert member.listed() == {**made, **nothing}
    with pytest.raises(Refusal) as refused:
        member.make(timeout_ms=500)
    assert str(refused.value) == (
        "INVALIDARG create: there is a consumer mail with another query or other options: tries_max; "
        "delete it first, or choose another name"
    )
    assert member.ask("CONSUMER", delete=NAME) == 1
    assert connection.call("CONSUMER") == []


def test_what_is_acked_does_not_come_again_and_moves_the_checkpoint(member: Member) -> None:
    assert member.fetch(limit=2) == ["a", "b"]
    assert member.settle("ACK", "b") == 1
    assert member.listed()["checkpoint"] == "0" * 26, "one before it is not settled"
    assert member.settle("ACK", "a", "b") == 1, "the other one was acked before"
    assert member.listed()["checkpoint"] == member.ids["b"]
    assert member.fetch() == ["c", "x"]
    assert member.asked("ACK", extend=[member.ids["c"]]) == 0
    assert member.settle("ACK", "c", "x") == 2
    assert (member.fetch(), member.listed()["lag"]) == ([], 0)


def test_what_failed_comes_again_before_what_is_behind_it(member: Member) -> None:
    assert member.fetch(limit=1) == ["a"]
    assert member.settle("NACK", "a", reason="not now") == 1
    assert member.fetch() == ["a", "b", "c", "x"]
    assert member.asked("NACK", release=True) == 4
    assert member.fetch(limit=3) == ["a", "b", "c"]
    assert member.settle("NACK", "b", delay_ms=3_600_000) == 1
    assert member.fetch() == ["x"], "c waits for b"


def test_what_is_parked_is_listed_with_its_reason_and_given_out_when_it_is_replayed(member: Member) -> None:
    member.fetch(limit=2)
    assert member.settle("NACK", "a", "b", park=True, reason="no address") == 2
    first, second = member.parked()
    assert (first["event"]["data"], first["tries"], first["reason"]) == ("a", 1, "no address")
    assert (first["id"], second["id"]) == (member.ids["a"], member.ids["b"])
    assert member.parked(limit=1) == [first]
    assert member.parked(after=first["id"]) == [second]
    assert member.fetch() == ["c", "x"]
    assert member.settle("ACK", "c", "x") == 2
    assert member.ask("CONSUMER", replay=NAME, ids=[member.ids["b"]]) == 1
    assert member.fetch() == ["b"]
    assert member.ask("CONSUMER", replay=NAME) == 1
    assert member.fetch() == ["a"]
    assert member.parked() == []


def test_a_reset_begins_anew(member: Member) -> None:
    member.fetch()
    member.settle("ACK", "a", "b", "c", "x")
    assert described(member.ask("CONSUMER", reset=NAME))["checkpoint"] == "0" * 26
    assert member.fetch() == ["a", "b", "c", "x"]
    member.ask("CONSUMER", reset=NAME, after=member.ids["b"])
    assert member.fetch() == ["c", "x"]
    member.ask("CONSUMER", reset=NAME, after="end")
    assert member.fetch() == []


def test_a_stream_is_with_one_member_at_a_time(member: Member, server: Server) -> None:
    with server.connect() as connection:
        other = Member(connection, "other")
        assert member.fetch(limit=1) == ["a"]
        assert other.fetch() == ["x"]
        other.ids |= member.ids
        with pytest.raises(Refusal) as refused:
            other.settle("ACK", "a")
        assert refused.value.code == "CONCURRENCY"
        assert str(refused.value).startswith(f"CONCURRENCY consumer={NAME} event={member.ids['a']}")
        assert member.settle("ACK", "a") == 1
        assert other.fetch() == ["b", "c"]


def test_a_fetch_that_is_repeated_under_its_name_gets_what_comes_next_and_a_release_brings_the_lost_back(
    member: Member, server: Server
) -> None:
    """As docs/consumers.md warns of clients that repeat requests by themselves."""
    member.connection.send(encode("FETCH", json.dumps({"consumer": NAME, "member": "m", "limit": 2})))
    member.connection.read()
    member.connection.close()
    with server.connect() as connection, server.connect() as third:
        again = Member(connection)
        assert again.fetch(limit=1) == ["c"], "a and b, which nobody has seen, count as held"
        assert Member(third, "other").fetch() == ["x"], "no other name gets c's stream meanwhile"
        assert again.asked("NACK", release=True) == 3
        assert again.fetch() == ["a", "b", "c"]


def test_a_fetch_waits_for_an_event(server: Server) -> None:
    with server.connect() as connection, server.connect() as writer:
        member = Member(connection)
        member.make()
        assert member.fetch(wait_ms=1) == []
        found: list[str] = []
        waiting = threading.Thread(target=lambda: found.extend(member.fetch(wait_ms=60_000)))
        waiting.start()
        have(writer, STREAM, "a")
        waiting.join()
        assert found == ["a"]


def test_an_append_with_a_checkpoint_acks_its_event_once(member: Member) -> None:
    member.fetch()
    (result,) = records(member.ask("ADD", **member.adding("a", request_id="of a")))
    assert json.loads(result)["data"] == "of a"
    assert records(member.ask("ADD", **member.adding("a", request_id="of a"))) == [result]
    with pytest.raises(Refusal, match="CONCURRENCY consumer=mail event="):
        member.ask("ADD", **member.adding("a"))
    with pytest.raises(Refusal, match="CONCURRENCY stream="):
        member.ask("ADD", **member.adding("b", version=0))
    part = member.adding("b")
    checkpoint = part.pop("checkpoint")
    appends = [part, {**part, "stream": OTHER}]
    assert len(records(member.ask("ADDMANY", appends=appends, checkpoint=checkpoint))) == 2
    assert member.settle("ACK", "a", "b", "c", "x") == 2
    assert len(member.connection.read_stream(RESULTS)) == 2


def test_a_restart_forgets_who_holds_what_and_nothing_else(start_server: StartServer) -> None:
    server = start_server()
    with server.connect() as connection:
        member = Member(connection)
        member.make(retry_ms=0)
        have(connection, STREAM, "a", "b", "c")
        member.fetch()
        member.settle("ACK", "b")
        server.kill()
    with start_server().connect() as connection:
        after = Member(connection)
        after.ids = member.ids
        with pytest.raises(Refusal, match="CONCURRENCY consumer=mail event="):
            after.ask("ADD", **after.adding("a"))
        assert after.fetch() == ["a", "c"]
        assert after.settle("ACK", "a", "c") == 2
        assert after.listed()["checkpoint"] == after.ids["c"]


REFUSED = [
    ("CONSUMER", '{"delete":"none"}', "NOCONSUMER there is no consumer none"),
    ("CONSUMER", '{"reset":"none"}', "NOCONSUMER there is no consumer none"),
    ("CONSUMER", '{"parked":"none"}', "NOCONSUMER there is no consumer none"),
    ("CONSUMER", '{"replay":"none"}', "NOCONSUMER there is no consumer none"),
    ("CONSUMER", '{"make":"mail"}', "INVALIDARG make: unknown field"),
    ("CONSUMER", "LISTS", "INVALIDARG expected LIST or a JSON object, got LISTS"),
    ("FETCH", '{"consumer":"none","member":"m"}', "NOCONSUMER there is no consumer none"),
    ("FETCH", '{"consumer":"mail"}', "INVALIDARG member: is required"),
    ("ACK", '{"consumer":"none","member":"m","ids":[]}', "NOCONSUMER there is no consumer none"),
    (
        "ACK",
        f'{{"consumer":"mail","member":"m","ids":["{UNKNOWN}"]}}',
        f"INVALIDARG ids: {UNKNOWN} is no event that consumer mail gives out",
    ),
    (
        "ACK",
        f'{{"consumer":"mail","member":"m","extend":["{UNKNOWN}"]}}',
        f"CONCURRENCY consumer=mail event={UNKNOWN}",
    ),
    ("NACK", '{"consumer":"none","member":"m","ids":[]}', "NOCONSUMER there is no consumer none"),
    ("NACK", '{"consumer":"mail","member":"m"}', "INVALIDARG ids: expected the events that failed"),
    (
        "ADD",
        f'{{"stream":"{STREAM}","version":"any","events":[{{"type":"t","data":""}}],'
        f'"checkpoint":{{"consumer":"none","member":"m","id":"{UNKNOWN}"}}}}',
        "NOCONSUMER there is no consumer none",
    ),
]


@pytest.mark.parametrize(("command", "argument", "text"), REFUSED)
def test_a_refusal_says_what_is_wrong(member: Member, command: str, argument: str, text: str) -> None:
    with pytest.raises(Refusal) as refused:
        member.connection.call(command, argument)
    assert str(refused.value).startswith(text)
    if "NOCONSUMER" in text:
        assert str(refused.value).endswith('; make it with CONSUMER {"create":"none"}')
    assert member.connection.call("PING") == "PONG"


@pytest.mark.parametrize("command", ["FETCH", "ACK", "NACK"])
def test_a_command_without_its_argument_is_refused(connection: Connection, command: str) -> None:
    with pytest.raises(Refusal, match="wrong number of arguments"):
        connection.call(command)


@pytest.mark.parametrize("protocol", [2, 3])
def test_redis_py_is_a_member(server: Server, protocol: int) -> None:
    with redis.Redis(port=server.port, protocol=protocol) as client:
        made = client.execute_command("CONSUMER", json.dumps({"create": NAME}))
        assert json.loads(made)["consumer"] == NAME
        add = {"stream": str(uuid.uuid4()), "version": 0, "events": [{"type": "t", "data": "d"}]}
        added = client.execute_command("ADD", json.dumps(add))
        member = {"consumer": NAME, "member": "m"}
        fetched = client.execute_command("FETCH", json.dumps(member))
        assert fetched == added
        ids = [json.loads(fetched[0])["id"]]
        assert client.execute_command("NACK", json.dumps({**member, "ids": ids, "delay_ms": 0})) == 1
        assert client.execute_command("FETCH", json.dumps({**member, "wait_ms": 1000})) == added
        assert client.execute_command("ACK", json.dumps({**member, "ids": ids})) == 1
        with pytest.raises(redis.ResponseError, match="there is no consumer none"):
            client.execute_command("FETCH", json.dumps({**member, "consumer": "none"}))


def test_redis_cli_shows_the_consumers(member: Member, server: Server) -> None:
    member.fetch(limit=2)
    shown = subprocess.run(
        ["redis-cli", "-p", str(server.port), "CONSUMER", "LIST"], capture_output=True, text=True, check=True
    )
    listed = json.loads(shown.stdout)
    assert (listed["consumer"], listed["in_flight"], listed["members"], listed["lag"]) == (NAME, 2, 1, 4)
