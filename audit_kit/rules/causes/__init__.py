"""Why an invoice is not where it should be."""
