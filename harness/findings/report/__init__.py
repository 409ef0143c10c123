"""`report.json`: what stands in it, how it is written and read, and what is said of it in words and tables."""
