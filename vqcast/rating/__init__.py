"""The human study: people compare the predictions of two systems, side by side."""
