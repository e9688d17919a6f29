"""The example store: few-shot examples, search, usage, effectiveness."""
