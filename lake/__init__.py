"""What is stored, and how it is read and written: contracts, the Delta store, the change feed, SQL.

The only package that touches Delta tables or DuckDB. It knows nothing of Dagster, models or the command line.
"""
