"""Decoding of text and words, with a cache: the best tokens, or drawn ones."""
