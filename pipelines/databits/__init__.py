"""Versioned units, lineage, quality, curation: what is the data made of?"""
