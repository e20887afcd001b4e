"""The work of a build, before it is done."""
