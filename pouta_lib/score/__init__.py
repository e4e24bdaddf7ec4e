"""What a trained model is worth: maps and metrics, how sure they are, and what features say."""
