"""What became of findings from one report to the next, and whether an action made a cause rarer."""
