"""The one place (beside the engine in `resources/`) that knows DSPy, whose surface moves between versions.

`programs.py` builds modules and their state, `calling.py` runs them on items, `watching.py` sees candidates as they are
evaluated, `optimizers.py` starts the optimisers. Nothing of DSPy's is imported before it is used (3 s), nothing global
of it is configured: settings hold within `dspy.context`. `tests/optimization/test_dspy_surface.py` names what must be
changed here when DSPy changes.
"""
