"""longctx: measure what a model's advertised context window is worth."""

__version__ = "0.1.0"
