"""Electronic invoices: XML, OFD, PDF, XBRL."""
