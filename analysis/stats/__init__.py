"""Intervals, the verdict's rules, and the paper's claims."""
