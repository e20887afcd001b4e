"""The steps of a build, one module each, and what they share."""
