"""EventflowDB: a database for event sourcing that speaks the Redis protocol."""

__version__ = "0.1.0"
