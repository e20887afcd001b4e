"""Units to words: training a unit language, encoding, compression."""
