"""What a trained model is good for: task files and in-context inference."""
