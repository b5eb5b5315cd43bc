from tests.faults.conftest import forks

__all__ = ['forks']
