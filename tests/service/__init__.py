"""Tests of the service: a worker and a pool stepped by hand, a clock of its own, no thread and no sleep."""
