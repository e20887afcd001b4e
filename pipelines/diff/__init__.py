"""Differences between two corpus versions."""
