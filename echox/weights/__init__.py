"""Weights that a run trains, and those that it only refers to."""
