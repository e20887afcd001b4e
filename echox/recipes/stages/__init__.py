"""The training stages: every module here defines one, see `echox.recipes.stage` and `echox.stages`."""
