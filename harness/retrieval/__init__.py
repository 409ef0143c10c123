"""The question: tasks, rows, prompts and how a completion is scored. No torch."""
