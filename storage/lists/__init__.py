"""Receipts and other rows of a version, in lists that versions share."""
