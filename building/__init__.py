"""How an installation is built: its libraries, its build backend, and what of it is compiled."""
