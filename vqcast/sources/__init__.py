"""Getting videos: the four sources, their store, and the table of what came."""
