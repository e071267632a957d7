"""What the reports of one folder say together: the register of months, and the page on how they went."""
