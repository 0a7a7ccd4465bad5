"""Kernels in C behind the one seam normalise + add + rectify."""
