"""What the sections share: child processes, small runs in them, and faults at chosen moments."""
