"""Series, change points, regressions: better or worse, and since which commit."""
