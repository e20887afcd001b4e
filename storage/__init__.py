"""Storage of corpora: schemas, versioned tables and artifacts."""
