"""Exports of a corpus version in layouts that other programs read."""
