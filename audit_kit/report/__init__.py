"""The month's report: notebooks run, pages, front page, workbook, manifest; the lab."""
