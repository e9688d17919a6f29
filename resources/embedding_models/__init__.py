"""Embedding models: where their files are, how they become ONNX, and how each runtime runs them.

Which one an installation uses is configuration (`resources/embedders.py`). No runtime is imported at module level.
"""
