"""Making a new model aside, and putting it in the place of the promoted one only where it is no worse."""
