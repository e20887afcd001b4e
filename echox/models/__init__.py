"""The parts of EchoX as plain modules: independent of recipes, corpora and tokenizers."""
