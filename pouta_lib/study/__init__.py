"""Runs and their records: one run, the plan of many, and the batch that makes them."""
