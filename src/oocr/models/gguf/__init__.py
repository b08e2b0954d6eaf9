"""GGUF files: their headers, their configurations, and their conversion to safetensors."""
