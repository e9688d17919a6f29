"""How one table becomes another: pure functions, and steps that run them over a lake.

A room per question; each has modules of pure functions (frames in, frames out) and one `steps.py`. No Dagster here.
"""
