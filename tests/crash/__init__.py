"""SIGKILL under load, again and again."""
