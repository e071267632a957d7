"""What is kept of an engagement on this machine, outside of its folder and its reports, and how it is forgotten."""
