"""Makes every text begin with BOS. Gemma was trained so, and encodes a text without BOS badly.

Gemma 3's tokenizer adds BOS in its post-processor; Gemma 4's has none. transformers 5 ignores `add_bos_token` in a
tokenizer's config.
"""

import logging
from typing import Any

from models.errors import ModelBroken

logger = logging.getLogger(__name__)


def lead_with_bos(tokenizer: Any) -> None:
    """Make `tokenizer` begin every text with BOS. Raises ModelBroken if it has no BOS token or cannot add it."""
    if _leads(tokenizer):
        return
    if tokenizer.bos_token_id is not None:
        tokenizer.add_bos_token = True
    if not _leads(tokenizer):
        raise ModelBroken("the tokenizer cannot begin a text with BOS, which the text encoder was trained with")
    logger.info("the tokenizer did not add BOS to texts: it now begins them with %s", tokenizer.bos_token)


def _leads(tokenizer: Any) -> bool:
    return bool(tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id])
