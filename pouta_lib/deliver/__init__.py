"""What leaves the house: a detector in a form that others run, and an answer as a page."""
