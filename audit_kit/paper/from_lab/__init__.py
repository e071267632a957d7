"""What an auditor takes away from the lab."""
