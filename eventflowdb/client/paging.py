"""A whole read, page by page; without I/O.

Shared by all clients: nothing here may import Twisted or a Redis library.
"""

from uuid import UUID

from msgspec.structs import replace

from eventflowdb.client import exchanges
from eventflowdb.client.decoding import Page
from eventflowdb.client.exchanges import Exchange
from eventflowdb.client.filters import Filters, fields_of
from eventflowdb.events import RecordedEvent


class Paging:
    """`next` is the request for the next page, `take` gives its events; then `is_over` tells whether these were all.

    A page is a plain read where all of a stream or of the log is read forwards. Else it is one with a cursor: then a
    search that finds little is answered now and then, however long it is.
    """

    def __init__(
        self,
        filters: Filters,
        *,
        stream: str | UUID | None,
        version: int,
        after: str | None,
        backwards: bool,
        page_events: int,
    ) -> None:
        exchanges.check_page_events(page_events)
        stream_text = None if stream is None else str(stream)
        is_plain = not (filters or backwards or (stream_text is not None and after is not None))
        self._fields = fields_of(
            filters,
            stream=stream_text,
            version=version,
            after=after,
            limit=page_events,
            backwards=backwards,
            cursor=not is_plain,
        )
        self.is_over = False

    def next(self) -> Exchange[Page]:
        """The next request."""
        return exchanges.page(self._fields)

    def take(self, page: Page) -> list[RecordedEvent]:
        """The events of its reply."""
        fields = self._fields
        if page.cursor is None:
            self.is_over = True
        elif fields.backwards:
            self._fields = replace(fields, before=page.cursor)
        elif fields.stream is not None and not fields.cursor:
            self._fields = replace(fields, version=fields.version + len(page.events))
        else:
            self._fields = replace(fields, after=page.cursor)
        return page.events
