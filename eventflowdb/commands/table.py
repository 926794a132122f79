"""The command table: everything that is told of commands elsewhere is derived from it."""

from eventflowdb.commands import arguments
from eventflowdb.commands.spec import CommandSpec, Order

_SPECS = (
    CommandSpec(
        "PING",
        "Ask whether the server answers.",
        "[message]",
        "`+PONG`, or the message as a bulk string",
        Order.AT_ONCE,
        words_max=2,
    ),
    CommandSpec(
        "AUTH",
        "Authenticate the connection.",
        "`<password>` or `<user> <password>`",
        "`+OK`",
        Order.AT_ONCE,
        words_min=2,
        words_max=3,
        is_for_anyone=True,
    ),
    CommandSpec(
        "QUIT",
        "Close the connection after the replies that are owed.",
        "-",
        "`+OK`, then the connection closes",
        Order.AT_ONCE,
        is_for_anyone=True,
    ),
    CommandSpec("VERSION", "The version of the server.", "-", "bulk string, the SemVer version", Order.AT_ONCE),
    CommandSpec(
        "UPTIME",
        "How long the server has been running.",
        "-",
        'bulk string in words ("1 hour, 2 minutes and 3 seconds")',
        Order.AT_ONCE,
    ),
    CommandSpec(
        "SIZE",
        "How much of the database file is in use.",
        "-",
        'array: integer bytes (pages in use x page size), bulk string ("12.3 kB", base 1000)',
        Order.READ,
    ),
    CommandSpec("EVENTCOUNT", "The number of events in the log.", "-", "integer, exact, O(1)", Order.READ),
    CommandSpec("STREAMCOUNT", "The number of streams.", "-", "integer, exact, O(1)", Order.READ),
    CommandSpec(
        "EVENTCOUNTEST",
        "The number of events as of the last periodic index.",
        "-",
        "integer, as of the last periodic index (every COUNT_INTERVAL); touches no disk",
        Order.AT_ONCE,
    ),
    CommandSpec(
        "STREAMCOUNTEST",
        "The number of streams as of the last periodic index.",
        "-",
        "integer, as of the last periodic index (every COUNT_INTERVAL); touches no disk",
        Order.AT_ONCE,
    ),
    CommandSpec(
        "CHECKSUM",
        "The checksum of the whole log.",
        "-",
        "array of bulk strings: ULID of the latest event, checksum of the whole log (64 hex digits, lower case), O(1)",
        Order.READ,
    ),
    CommandSpec(
        "ADD",
        "Append events to a stream that holds `version` events.",
        '`{"stream","version","events"}`, all required',
        "array of bulk strings: each stored event as JSON, in order",
        Order.APPEND,
        words_min=2,
        words_max=2,
        decode=arguments.ADD.decode,
    ),
    CommandSpec(
        "GET",
        "Read a stream.",
        '`{"stream","version","limit"}`, stream required',
        "array of bulk strings, one event each",
        Order.READ,
        words_min=2,
        words_max=2,
        decode=arguments.GET.decode,
    ),
    CommandSpec(
        "GETALL",
        "Read the log.",
        '`{"offset","after","limit"}`, the argument is optional',
        "array of bulk strings, one event each",
        Order.READ,
        words_max=2,
        decode=arguments.GETALL.decode,
    ),
)

COMMANDS = {spec.name: spec for spec in _SPECS}
