"""The steps of a corpus build, each a Ray Data job."""
