"""What it means: statistics, reports and plots, from records alone. No torch."""
