"""Text to tokens, before a proof; from tokens to text goes :mod:`verifai.domain.tokenizer`, which needs no library."""
