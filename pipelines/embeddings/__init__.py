"""Vectors and the vector index, kept in step by change feed."""
