"""Speech to units to unit language, as a pure library."""
