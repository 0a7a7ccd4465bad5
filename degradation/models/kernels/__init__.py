"""Kernels in C behind the one seam normalize + add + rectify, and of a convolution's weight gradient."""
