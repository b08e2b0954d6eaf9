"""Speed and memory of training steering vectors and one-layer LoRAs, beside what people use."""
