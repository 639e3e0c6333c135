"""The Prefect side: the DAG, its runs, what Prefect shows of them, and schedules."""
