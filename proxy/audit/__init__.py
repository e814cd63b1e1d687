"""The audit log: events in files, chained so that what was altered or removed shows.

Each worker has a chain of its own, ``worker-1`` and so on, in files ``worker-1.000001.jsonl``, one event per line, each
with its place in the chain and a MAC (``chain``). Once a second at most, and at exit, the heads of all chains are
anchored together (``heads``), so that a chain can't be cut short either. ``verify`` says what is wrong.

Not detected: that files and heads were both put back to an older state. Whoever must exclude that keeps copies of the
heads elsewhere.
"""
