"""Tiny random models, and what goes with them: GGUF files, organisms, a task, runs of seconds."""
