from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread, and leave torch's generator as it was."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        yield
