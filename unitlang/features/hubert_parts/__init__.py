"""Parts of the HuBERT extractor: checkpoints, front end, encoder."""
