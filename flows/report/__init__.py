"""Reports on corpus versions: facts, tables on a terminal, an HTML page."""
