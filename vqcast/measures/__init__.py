"""What videos, features and codes are measured by, each on its own."""
