"""The training package: models and the three stages of EchoX."""
