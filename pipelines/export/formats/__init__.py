"""Formats of exports: a module here that defines a `Format` registers it by being there, under the module's name."""
