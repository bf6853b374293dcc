"""Text on its way to tokens and back, for whoever holds the tokenizer: a server, or a client."""
