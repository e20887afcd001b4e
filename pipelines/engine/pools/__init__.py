"""Pools of Ray workers: how large a step's pool is, and how it runs."""
