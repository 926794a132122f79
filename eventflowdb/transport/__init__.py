"""Sockets: the Twisted protocol, its factory, and the port."""
