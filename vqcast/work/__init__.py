"""How and where work runs, what it leaves whole, and the record of each run."""
