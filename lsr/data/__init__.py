"""Text in: readers of corpora, queries, qrels and runs. Imports only `lsr.types` and `lsr.errors`."""
