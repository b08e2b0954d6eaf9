"""Where a model's files come from: a folder, the Hub, what is bundled or downloaded."""
