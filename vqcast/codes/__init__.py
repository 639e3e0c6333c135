"""Latent shards: encoding into them, reading them, models and likelihoods over them."""
