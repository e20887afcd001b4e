"""Execution of steps: work units, sessions in process or on Ray, fingerprints, progress."""
