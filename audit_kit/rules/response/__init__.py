"""What was done about the trouble: the register by hand, tickets, other sources, and what they show."""
