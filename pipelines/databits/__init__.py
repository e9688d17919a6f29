"""Versioned units, lineage, quality, curation: what the data is made of."""
