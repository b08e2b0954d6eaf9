"""What can be asked only where the truth is known: analyses of a nano organism."""
