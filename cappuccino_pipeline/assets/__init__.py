"""One module per stage. An asset reads, calls the library, writes and says what a person needs to judge the result."""

import warnings

import dagster as dg

# `backfill_policy` is marked beta; without it a backfill of 24 months would be 24 runs.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)
