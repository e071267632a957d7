"""What leaves the house on paper: problem reports for whoever can mend it, and the emergency plan."""
