"""Fine-tuning a text encoder with the Hugging Face Trainer: data, encoder, and runs of the command."""
