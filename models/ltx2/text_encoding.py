"""Modifies the text encoder: removes its unused head, and encodes both texts in one pass if its layers are streamed."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from models.ltx2.prompt_cache import MAX_TOKENS, count_tokens

if TYPE_CHECKING:
    from torch import Tensor

Embeddings = tuple["Tensor", "Tensor"]
"""Embeddings of texts (texts, tokens, width), and the attention mask (texts, tokens)."""


def drop_head(text_encoder: Any) -> None:
    """Skip the logits: Gemma's 1,024 x 262,208 are a 2 GB matrix that no pipeline reads."""
    import torch

    if hasattr(text_encoder, "lm_head"):
        text_encoder.lm_head = torch.nn.Identity()


def multiply_by_rows(text_encoder: Any) -> None:
    """Make linear layers multiply the texts of a batch one by one. Call it before offload hooks are installed.

    Matrix kernels may round differently for another shape. All other operations work on each token or text separately.
    Both texts of a request therefore get the same values in one call as in separate calls. Some processors round
    elementwise functions otherwise for a larger tensor: up to 7e-6 in the latents (measured on a small model).
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
    """Encodes the prompt and the negative prompt in one call, so that each streamed layer is copied to the GPU once.

    Replaces the text-encoding method of `pipes`, which encodes the prompt first and then the negative prompt.
    """

    def __init__(self, pipes: Sequence[Any]) -> None:
        self._tokenizer = pipes[0].tokenizer
        self._negative: str | None = None
        self._kept: Embeddings | None = None
        for pipe in pipes:
            pipe._get_gemma_prompt_embeds = self._encoder(pipe._get_gemma_prompt_embeds)  # noqa: SLF001

    @contextlib.contextmanager
    def expecting(self, negative: str | None) -> Iterator[None]:
        """In this context, encode the next text together with `negative`, unless that is None."""
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
        """Whether a text needs no padding. Encoded alone it then gets no mask, and another kernel runs."""
        return count_tokens(text, self._tokenizer) >= MAX_TOKENS
