"""Data sets behind one interface, their order, and their batches on a device."""
