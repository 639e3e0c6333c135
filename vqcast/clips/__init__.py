"""Cutting videos into clips, shards of them, and reading windows."""
