"""Kernels in C behind the one seam normalize + add + rectify, and of a weight's gradient."""
