"""Hugging Face folders as they are: weights, tokens and settings are read, the engine maps the weights and computes."""
