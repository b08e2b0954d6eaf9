"""Steps of steering vectors and one-layer LoRAs: rows of ours and of peers, each in a process."""
