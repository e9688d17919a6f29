"""Spans, summaries and their diffs: where the time went, and which part got slower."""
