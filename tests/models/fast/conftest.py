from tests.models.speedups.conftest import build

__all__ = ["build"]
