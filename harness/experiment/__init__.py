"""What is done: heads, conditions, the plan of work and the store of records. No torch."""
