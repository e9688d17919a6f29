"""When, where and in which order: the Dagster code location.

Definitions of at most a paragraph each; what they do is in `pipelines/`, what they reach is in `resources/`.
"""

import warnings

import dagster as dg

# Single-run backfills, code references and pools are what this code location stands on; Dagster still labels them
# beta or preview and would greet every start of the UI with a page of warnings.
warnings.filterwarnings("ignore", category=dg.BetaWarning)
warnings.filterwarnings("ignore", category=dg.PreviewWarning)
