"""A report made by the machine: when it runs, and who is told."""
