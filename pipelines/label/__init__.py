"""Labels of a version for stage echo: write them, and verify them."""
