"""How long an invoice takes to become visible, and whether a missing one is merely late."""
