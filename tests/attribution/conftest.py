"""DSPy is kept off the network as for the optimisation that is attributed; a lake of its own for each test."""

from tests.optimization.conftest import lake, local_libraries

__all__ = ["lake", "local_libraries"]
