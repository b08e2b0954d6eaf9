"""What leaves oocr: exported vectors and runs, and what is published on the Hub."""
