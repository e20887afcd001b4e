"""Units to words: learning a unit language, encoding, compression."""
