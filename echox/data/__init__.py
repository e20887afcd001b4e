"""From the training shards of a corpus version to batches."""
