"""Parameters: their sections, their meaning and their checks."""
