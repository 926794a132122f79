"""How fast the server is: `python -m benchmarks --help`. The figures, and how they were taken, stand in README.md."""
