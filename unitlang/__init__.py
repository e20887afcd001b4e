"""Speech to units to unit language: a pure library."""
