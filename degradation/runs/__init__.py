"""The run folder: its files, its states, its log rows, and how far a run is."""
