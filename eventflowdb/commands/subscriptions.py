"""The queries of SUBSCRIBE: which events are sent, and from where on."""

import msgspec
from msgspec import UNSET

from eventflowdb.commands.arguments import ArgumentDecoder, check_stream_id, count_field_strings, given
from eventflowdb.commands.filters import SelectionArgument, check_selection
from eventflowdb.commands.shapes import Integer, Optional
from eventflowdb.errors import InvalidArgument
from eventflowdb.queries import Query


class SubscribeArgument(SelectionArgument, kw_only=True):
    """What SUBSCRIBE takes, each."""

    stream: str | Optional = UNSET
    version: Integer | Optional = UNSET
    offset: str | Optional = UNSET


class SubscriptionQuery(msgspec.Struct, frozen=True):
    """A checked query of a subscription; has_history: it says where to begin, else it begins at the end of the log."""

    query: Query
    has_history: bool = False


def _check_subscribe(value: SubscribeArgument, _size_bytes: int) -> SubscriptionQuery:
    stream, version = given(value.stream), given(value.version)
    after, offset = given(value.after), given(value.offset)
    if version is not None:
        if stream is None:
            raise InvalidArgument("version: is a place in a stream; name the stream, or give after or offset")
        if after is not None or offset is not None:
            raise InvalidArgument("version: cannot be given together with after or offset")
    query = check_selection(
        value, after, offset, None if stream is None else check_stream_id(stream), version or 0, is_backwards=False
    )
    return SubscriptionQuery(query, any(given(field) is not None for field in (version, after, offset, value.since)))


SUBSCRIBE = ArgumentDecoder(SubscribeArgument, _check_subscribe, count_field_strings)
