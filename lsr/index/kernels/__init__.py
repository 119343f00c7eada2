"""Numba leaf: plain functions over arrays. Imports numpy, numba and its own modules only."""
