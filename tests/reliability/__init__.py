"""Faults by the hundred: what the tests do in their quick form, counted."""
