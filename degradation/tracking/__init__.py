"""curves.jsonl to Weights & Biases and back."""
