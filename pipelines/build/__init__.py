"""A corpus build: its state between steps, accounts, commit, statistics and verification."""
