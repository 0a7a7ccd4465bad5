"""Faults by the hundred: what the tests do once, done as often as a claim needs.

    python -m tests.soak [--quick] [--only kill,damage,…] [--seed N] [--write RELIABILITY.md]

Nothing in the product knows of it: faults come from the kernel (signals, limits, full disks) and
from functions that a forked child replaces in its own memory.
"""
