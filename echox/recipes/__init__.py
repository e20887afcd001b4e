"""The three stages as fairseq2 recipes."""
