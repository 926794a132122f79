"""Commands as data: what each takes, what it answers, and how its argument is checked. No Twisted."""
