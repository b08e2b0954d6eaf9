"""What a run will cost: seconds and memory, before it starts."""
