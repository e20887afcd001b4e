"""Withdrawal of speech from a corpus: forget it, erase its files, prove that it is absent."""
