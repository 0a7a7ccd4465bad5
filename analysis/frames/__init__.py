"""Runs and the paper's curves as data frames, and which runs may be compared."""
