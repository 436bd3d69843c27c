"""Runs transformers causal language models over many prompts at once."""
