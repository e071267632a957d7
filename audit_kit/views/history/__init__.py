"""How the reports of a folder went: findings, causes and predictions over the months."""
