"""vqcast: train, sample and audit a hierarchical VQ-VAE video predictor."""

import os

# Arrow's own pool keeps what a stage has freed, and more of it the longer it runs: before pyarrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
