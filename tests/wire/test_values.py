"""Replies of any shape: the same value in both protocols, byte for byte, and back through a reader of its own."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventflowdb.wire.values import RESP2, RESP3, Members, Push, Simple, Value, Verbatim, encode

from . import resp3

TABLE: list[tuple[Value, bytes, bytes]] = [
    (None, b"$-1\r\n", b"_\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (0, b":0\r\n", b":0\r\n"),
    (-(2**63), b":-9223372036854775808\r\n", b":-9223372036854775808\r\n"),
    (2**63 - 1, b":9223372036854775807\r\n", b":9223372036854775807\r\n"),
    (0.0, b"$3\r\n0.0\r\n", b",0.0\r\n"),
    (-1.5, b"$4\r\n-1.5\r\n", b",-1.5\r\n"),
    (1e300, b"$6\r\n1e+300\r\n", b",1e+300\r\n"),
    (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
    (-math.inf, b"$4\r\n-inf\r\n", b",-inf\r\n"),
    (math.nan, b"$3\r\nnan\r\n", b",nan\r\n"),
    (Simple("OK"), b"+OK\r\n", b"+OK\r\n"),
    ("", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    ("ä\r\n", b"$4\r\n\xc3\xa4\r\n\r\n", b"$4\r\n\xc3\xa4\r\n\r\n"),
    (b"\0\xff", b"$2\r\n\0\xff\r\n", b"$2\r\n\0\xff\r\n"),
    (Verbatim("a:ä\r\n"), b"$6\r\na:\xc3\xa4\r\n\r\n", b"=10\r\ntxt:a:\xc3\xa4\r\n\r\n"),
    (Verbatim(""), b"$0\r\n\r\n", b"=4\r\ntxt:\r\n"),
    ([], b"*0\r\n", b"*0\r\n"),
    ((1, "a", None), b"*3\r\n:1\r\n$1\r\na\r\n$-1\r\n", b"*3\r\n:1\r\n$1\r\na\r\n_\r\n"),
    ({}, b"*0\r\n", b"%0\r\n"),
    (
        {"a": 1, "b": [True]},
        b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*1\r\n:1\r\n",
        b"%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*1\r\n#t\r\n",
    ),
    (Members([]), b"*0\r\n", b"~0\r\n"),
    (Members([Simple("fast"), 1]), b"*2\r\n+fast\r\n:1\r\n", b"~2\r\n+fast\r\n:1\r\n"),
    (
        Push(["message", {"a": None}]),
        b"*2\r\n$7\r\nmessage\r\n*2\r\n$1\r\na\r\n$-1\r\n",
        b">2\r\n$7\r\nmessage\r\n%1\r\n$1\r\na\r\n_\r\n",
    ),
]


@pytest.mark.parametrize(("value", "in_resp2", "in_resp3"), TABLE, ids=[repr(value) for value, _, _ in TABLE])
def test_a_value_goes_out_as_its_protocol_has_it(value: Value, in_resp2: bytes, in_resp3: bytes) -> None:
    assert encode(value, RESP2) == in_resp2
    assert encode(value, RESP3) == in_resp3


_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.binary() | st.floats(allow_nan=False)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", max_size=3), inner), max_leaves=20
)


@given(_VALUES)
def test_what_goes_out_in_resp3_can_be_read_back(value: Any) -> None:
    assert resp3.read_one(encode(value, RESP3)) == _with_bulk_keys(value)


@given(_VALUES)
def test_resp2_knows_no_type_of_resp3(value: Any) -> None:
    _require_kinds(resp3.read_one(encode(value, RESP2)))


def _with_bulk_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name.encode(): _with_bulk_keys(item) for name, item in value.items()}
    return [_with_bulk_keys(item) for item in value] if isinstance(value, list) else value


def _require_kinds(reply: Any) -> None:
    assert reply is None or type(reply) in (int, bytes, list), reply
    for item in reply if isinstance(reply, list) else ():
        _require_kinds(item)
