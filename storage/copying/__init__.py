"""Copies of corpus versions in other stores."""
