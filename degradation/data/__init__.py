"""Data sets behind one interface, the order of their images, and batches on the device."""
