"""Receipts of a version in lists that versions share."""
