"""Clients: what Python programs import to talk to an EventflowDB server.

`exchanges` and `refusals` know neither Twisted nor a Redis library, so that every client shares them;
`replies` frames RESP; `connections` builds on txredisapi; `twisted_client` is the Twisted client.
"""
