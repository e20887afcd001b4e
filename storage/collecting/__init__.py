"""Removal of what no version of a store refers to, and what keeps it from programs at work."""
