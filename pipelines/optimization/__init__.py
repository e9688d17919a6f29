"""Templates, DSPy programs, optimiser runs and trials, and the way back to the example store."""
