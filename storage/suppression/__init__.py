"""Suppression lists: speech that a store must not hold any more."""
