"""Real filings -> rows: annual reports read, sentences that state a value found, one haystack made of each filing."""
