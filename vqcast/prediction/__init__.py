"""Predictions for anyone's video: given frames in, several continuations side by side out."""
