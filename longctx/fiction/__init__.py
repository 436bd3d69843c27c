"""A simulated world told as a novel without end, and questions about it with exact answers."""
