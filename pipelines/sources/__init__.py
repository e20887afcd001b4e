"""Sources against the last version of a corpus: what is new, changed, mended, gone or withdrawn; where audio lies."""
