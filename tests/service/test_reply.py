"""What a reply is made of."""

import pytest

from eventflowdb.service.reply import LongReply, chunk_reply
from eventflowdb.storage.spans import NOTHING, NOTHING_RENDERED, Chunk, LogSpan, Rendered
from eventflowdb.wire.replies import array_items, bulk_array

RECORDS = [b"a", b"bc", b"", b"def", b"g"]
REST = LogSpan(bytes(16), 3)


def rendered(records: list[bytes]) -> list[bytes]:
    """A piece for each."""
    return [array_items([record]) for record in records]


@pytest.mark.parametrize("count", range(5))
def test_few_records_or_pieces_are_joined(count: int) -> None:
    records = RECORDS[:count]
    whole = bulk_array(records)
    assert chunk_reply(Chunk(records, None)) == whole
    assert chunk_reply(Rendered(rendered(records), count, None)) == whole


def test_many_pieces_are_not_until_somebody_asks() -> None:
    reply = chunk_reply(Rendered(rendered(RECORDS), 5, None))
    assert isinstance(reply, LongReply)
    assert reply.rest is None
    assert reply.pieces[1:] == rendered(RECORDS)
    assert reply.join() == bulk_array(RECORDS)


def test_what_has_a_rest_counts_it_and_what_stands_behind() -> None:
    for chunk in (Chunk(RECORDS[:2], REST), Rendered(rendered(RECORDS[:2]), 2, REST)):
        reply = chunk_reply(chunk, [b"behind"])
        assert isinstance(reply, LongReply)
        assert reply.rest == REST
        others = array_items([b"1", b"2", b"3"])
        assert b"".join([*reply.pieces, others, reply.ending]) == bulk_array(
            [*RECORDS[:2], b"1", b"2", b"3", b"behind"]
        )


def test_nothing_is_an_empty_array() -> None:
    assert chunk_reply(NOTHING) == chunk_reply(NOTHING_RENDERED) == b"*0\r\n"
