"""What is outside: models, backends, files, git, configuration, the configured lake.

Everything here hands out plain objects that work without Dagster; Dagster resources are thin wrappers.
"""
