"""How much faster rows are when several are in flight through models that are split over several GPUs."""
