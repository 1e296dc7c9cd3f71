"""How the text encoder is read: without the head that nobody asks, and in one pass for both texts where it streams."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from models.ltx2.prompt_length import MAX_TOKENS, count_tokens

if TYPE_CHECKING:
    from torch import Tensor

Embeddings = tuple["Tensor", "Tensor"]
"""Of texts: their embeddings (texts, tokens, width), and which of the tokens are theirs."""


def drop_head(text_encoder: Any) -> None:
    """Compute no logits: 1,024 x 262,208 of Gemma's are a 2 GB matrix for numbers that no pipeline reads."""
    import torch

    if hasattr(text_encoder, "lm_head"):
        text_encoder.lm_head = torch.nn.Identity()


def multiply_by_rows(text_encoder: Any) -> None:
    """Have linear layers multiply one text of a batch after the other, before hooks that fetch them are put on.

    Matrix kernels may round another shape otherwise. All else works on each token or each text by itself, so that both
    texts of a request get in one call the numbers that each gets alone, to the bit.
    """
    import torch

    from models.quantization.nf4 import Nf4Linear

    for layer in text_encoder.modules():
        if isinstance(layer, torch.nn.Linear | Nf4Linear):
            vars(layer)["forward"] = _by_rows(layer.forward)


def _by_rows(forward: Callable[["Tensor"], "Tensor"]) -> Callable[["Tensor"], "Tensor"]:
    import torch

    def multiply(states: "Tensor") -> "Tensor":
        return forward(states) if len(states) == 1 else torch.cat([forward(row[None]) for row in states])

    return multiply


class OnePassTextEncoder:
    """Reads the prompt and the negative prompt in one call, where layers pass through the GPU: each passes once.

    Stands in the way of how `pipes` encode a text: they encode the prompt, then the negative one.
    """

    def __init__(self, pipes: Sequence[Any]) -> None:
        self._tokenizer = pipes[0].tokenizer
        self._negative: str | None = None
        self._kept: Embeddings | None = None
        for pipe in pipes:
            pipe._get_gemma_prompt_embeds = self._encoder(pipe._get_gemma_prompt_embeds)  # noqa: SLF001

    @contextlib.contextmanager
    def expecting(self, negative: str | None) -> Iterator[None]:
        """A text that is encoded in this context is followed by `negative`, where that is one."""
        self._negative = negative
        try:
            yield
        finally:
            self._negative = self._kept = None

    def _encoder(self, encode: Callable[..., Embeddings]) -> Callable[..., Embeddings]:
        def encode_both(prompt: str | list[str], **options: Any) -> Embeddings:
            if self._kept is not None:
                kept, self._kept = self._kept, None
                return kept
            texts = [prompt] if isinstance(prompt, str) else prompt
            negative, self._negative = self._negative, None
            if negative is None or any(self._fills(text) for text in (*texts, negative)):
                return encode(prompt, **options)
            embeddings, mask = encode([*texts, negative], **options)
            first, self._kept = ((embeddings[row : row + 1].clone(), mask[row : row + 1].clone()) for row in (0, 1))
            return first

        return encode_both

    def _fills(self, text: str) -> bool:
        """Whether a text leaves nothing to pad: then it gets no mask where it stands alone, and another kernel."""
        return count_tokens(text, self._tokenizer) >= MAX_TOKENS
