"""Clients: what Python programs import to talk to an EventflowDB server.

`exchanges`, `consumers`, `membership` and `refusals` know neither Twisted nor a Redis library, so that every client
shares them; `replies` frames RESP; `connections` builds on txredisapi, `blocking_connections` and `asyncio_connections`
on redis-py; `twisted_client`, `blocking_client` and `asyncio_client` are the clients.
"""
