"""Kernels in C behind the seam normalise + add + rectify."""
