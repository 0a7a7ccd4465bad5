"""Figures, tables, verdict and report of finished runs: no GPU, no network, no account."""
