"""The panel in which a sample is drawn by hand."""
