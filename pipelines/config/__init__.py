"""The configuration of a build: its fields, its file, its faults."""
