"""Promise: float8 products are correct up to float8's rounding, and are removed when the fast task ends."""

from typing import Any

import pytest
import torch
from torch import nn

from models.optimizations.fast.fp8 import FLOAT8, Fp8Linears, can_multiply, round_rows

ROUNDING = 0.05
"""Relative to a product's length: e4m3 has three mantissa bits."""


class Transformer(nn.Module):
    """Two blocks with layers that are large enough, too small, and of an odd size."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.transformer_blocks = nn.ModuleList(
            nn.ModuleDict({"large": nn.Linear(64, 48), "odd": nn.Linear(50, 48), "small": nn.Linear(16, 16)})
            for _ in range(2)
        )
        self.proj_out = nn.Linear(64, 48)
        self.to(dtype)


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one.float() - other.float()).norm() / other.float().norm())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@torch.no_grad()
def test_a_product_is_right_to_rounding(dtype: torch.dtype) -> None:
    transformer = Transformer(dtype)
    layer: Any = transformer.transformer_blocks[1]["large"]
    states = torch.randn(3, 7, 64, dtype=dtype) * torch.logspace(-3, 3, 7, dtype=dtype)[:, None]
    exact = layer(states)
    with Fp8Linears(transformer, min_weights=1000).on():
        rounded = layer(states)
    assert rounded.dtype == dtype
    assert rounded.shape == exact.shape
    assert 0 < relative(rounded, exact) < ROUNDING


@torch.no_grad()
def test_afterwards_it_is_exact_again_also_when_the_task_failed() -> None:
    transformer = Transformer(torch.bfloat16)
    layer: Any = transformer.transformer_blocks[0]["large"]
    states = torch.randn(5, 64, dtype=torch.bfloat16)
    exact = layer(states)
    with pytest.raises(RuntimeError, match="broken"), Fp8Linears(transformer, min_weights=1000).on():
        raise RuntimeError("broken")
    assert torch.equal(layer(states), exact)


@torch.no_grad()
def test_only_large_layers_of_the_blocks_are_rounded() -> None:
    transformer = Transformer(torch.bfloat16)
    linears = Fp8Linears(transformer, min_weights=1000)
    assert linears.size_bytes == 2 * 64 * 48
    with linears.on():
        rounded = [name for name, module in transformer.named_modules() if "forward" in vars(module)]
    assert rounded == ["transformer_blocks.0.large", "transformer_blocks.1.large"]


@torch.no_grad()
def test_a_row_of_zeros_and_one_of_large_numbers_stay_numbers() -> None:
    matrix = torch.tensor([[0.0, 0.0], [3e38, -1e38], [1e-30, 5e-31]])
    rows, scale = round_rows(matrix)
    assert rows.dtype == FLOAT8
    assert bool(((rows.float() * scale - matrix).abs() <= ROUNDING * matrix.abs()).all())


def test_a_cpu_multiplies_no_float8() -> None:
    assert not can_multiply(torch.device("cpu"))
