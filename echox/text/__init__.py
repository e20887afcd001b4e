"""Text as the language model's tokens: tokenizers and prompts."""
