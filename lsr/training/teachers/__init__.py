"""Teachers: what scores pairs of query and document, so that a student can learn to.

Each teacher is given the texts once (`prepare`), keeps what it computes in the cache by the hash of its
content, and then answers by number. The modules here need torch, FAISS or pyserini only where they say so,
and are imported when a recipe asks for their kind (`lsr.training.teachers.opening`).
"""
