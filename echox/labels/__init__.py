"""Labels of stage echo: written once for a version of a corpus, and read by training."""
