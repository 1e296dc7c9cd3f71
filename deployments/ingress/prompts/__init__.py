"""Prompt enhancement: a language model of the operator rewrites a short prompt as LTX-2 reads it best."""
