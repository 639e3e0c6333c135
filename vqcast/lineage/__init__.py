"""Who made what from what: events of each run of a stage, and the audit that reads them."""
