"""The training package: models and training stages of EchoX."""
