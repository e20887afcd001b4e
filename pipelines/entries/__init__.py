"""Entries of sources: how a listing states them, by which paths, and how they are kept."""
