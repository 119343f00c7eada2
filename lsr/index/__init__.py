"""Sparse vectors to disk to top-k. Never imports `lsr.encoders`."""
