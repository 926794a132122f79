"""A server of several processes: a supervisor, one core that commits, and fronts that talk to clients."""
