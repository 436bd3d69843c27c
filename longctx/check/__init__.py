"""Whether a failure is the model's or the stack's: a loaded model against what its config says, and against itself."""
