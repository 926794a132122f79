"""On PYTHONPATH: the server checkpoints after every few commits, so that a short run has many checkpoints."""

import sys

if any("eventflowdb" in word or word == "-c" for word in sys.orig_argv):
    import eventflowdb.limits

    eventflowdb.limits.CHECKPOINT_COMMITS_MAX = 4
