"""Talking to servers, and what comes of asking them for a video."""
