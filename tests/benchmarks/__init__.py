"""The benchmark harness: millpond beside its peers, in one run, as one table.

Run it as `python tests/benchmarks` or `python -m tests.benchmarks`; `docs/benchmarks.md` tells how
the numbers are made and what they were.
"""
