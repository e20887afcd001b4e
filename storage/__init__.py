"""Where corpora live: schemas, versioned tables and artifacts."""
