"""One study, from settings to outcome: inputs, run, session; reaches the model floor inside functions only."""
