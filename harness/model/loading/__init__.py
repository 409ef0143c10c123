"""From a model's name to a model on its devices, and where its architecture keeps attention's output projections."""
