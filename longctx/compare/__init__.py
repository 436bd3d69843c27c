"""Do two sources serve the same model? Identical prompts to both, and to the first one twice."""
