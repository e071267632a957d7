"""The table of the panels, and what filters its rows."""
