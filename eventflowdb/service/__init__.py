"""The server without its sockets: connections' conversations, the dispatcher, the writer, reads and estimates.

Twisted, but never the global reactor: it is a parameter.
"""
