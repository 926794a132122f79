"""How fast the server is: `python -m benchmarks`. Figures and how they were taken stand in README.md beside this."""
