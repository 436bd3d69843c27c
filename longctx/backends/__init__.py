"""What can answer prompts. A backend sees prompts and drafts, never targets or tasks."""
