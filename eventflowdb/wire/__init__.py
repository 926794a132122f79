"""The Redis serialization protocol as bytes: requests in, replies out. No I/O, no Twisted, no threads."""
