"""Rows and records of sources: their columns, and the values of their fields."""
