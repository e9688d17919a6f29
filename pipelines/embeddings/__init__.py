"""Embeddings: vectors of texts, and the index by which texts are found by meaning, kept in step by change feed."""
