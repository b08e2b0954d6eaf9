"""Vectors, LoRAs and runs on the Hugging Face Hub: what is uploaded, with its card."""
