"""Text to sparse vectors. Never imports `lsr.index`: the two meet in `lsr.types.SparseBatch`."""
