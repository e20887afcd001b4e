"""Build, commit and verify a corpus, and compute its statistics."""
