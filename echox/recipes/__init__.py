"""The training stages as fairseq2 recipes."""
