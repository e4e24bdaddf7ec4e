"""What readers see: tables, pictures, and the paper's own numbers."""
