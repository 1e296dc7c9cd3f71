"""A value that is loaded once in a while."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage.ttl_cache import TtlCache


def test_a_value_is_loaded_again_when_it_is_too_old() -> None:
    loads = iter(range(10))
    assert [cache.get() for cache in [TtlCache(lambda: next(loads), ttl_s=3600)] * 3] == [0, 0, 0]
    old = TtlCache(lambda: next(loads), ttl_s=0)
    assert [old.get(), old.get()] == [1, 2]


def test_threads_that_come_together_wait_for_one_load() -> None:
    loads = []
    all_there = threading.Barrier(8)

    def load() -> int:
        loads.append(1)
        return len(loads)

    cache = TtlCache(load, ttl_s=3600)

    def get(_: int) -> int:
        all_there.wait()
        return cache.get()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(get, range(8))) == {1}


def test_an_error_is_not_kept() -> None:
    answers = iter([ValueError("down"), 7])

    def load() -> int:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return answer

    cache = TtlCache(load, ttl_s=3600)
    with pytest.raises(ValueError, match="down"):
        cache.get()
    assert cache.get() == 7
