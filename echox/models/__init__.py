"""The parts of EchoX as plain modules: nothing here knows of recipes, corpora or tokenizers."""
