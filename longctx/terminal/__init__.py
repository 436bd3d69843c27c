"""What a person sees of a command while it runs and when it ends: a file for each."""
