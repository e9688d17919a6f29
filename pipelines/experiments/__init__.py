"""Comparisons, scenarios, the decision ledger, exports and reports."""
