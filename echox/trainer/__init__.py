"""Additions to the trainer of fairseq2, and what it must not do here."""
