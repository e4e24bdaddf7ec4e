"""What every floor stands on: errors, paths, settings and names."""
