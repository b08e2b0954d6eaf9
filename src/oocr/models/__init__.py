"""Loading models, and what every decoder family calls its parts."""
