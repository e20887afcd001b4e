"""The facts of a corpus version, on a terminal and as an HTML page."""
