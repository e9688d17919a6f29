"""What differed, and does it matter: diffs, pairing, comparability, gates, promotion."""
