from tests.models.optimizations.conftest import build

__all__ = ["build"]
