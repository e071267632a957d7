"""Where an auditor works: the landing, the basket, an invoice's story, what if, the log of it all. Lab only."""
