"""vqcast: train, sample and audit a hierarchical VQ-VAE video predictor."""

import os

# Arrow's own pool keeps what was freed, and more of it the longer a stage runs. Before pyarrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
