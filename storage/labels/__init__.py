"""Labels of stage echo, kept beside the versions to which they belong."""
