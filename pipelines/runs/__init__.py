"""What was run, and what came out: suites, scorers, the suite runner, importers."""
