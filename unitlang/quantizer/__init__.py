"""Features to units: k-means, codebooks, assignment."""
