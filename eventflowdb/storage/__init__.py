"""Streams, the log and their indexes on LMDB: synchronous, and the only place that knows lmdb.

Nothing here may import Twisted or start a thread. Every class may be used from any thread, except that a
write transaction begins and ends within one call.
"""
