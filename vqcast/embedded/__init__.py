"""The embedded collection: scenes that are drawn and moved from a seed."""
