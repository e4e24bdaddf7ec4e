"""The method of the paper's section III: anomalies, networks, losses, training."""
