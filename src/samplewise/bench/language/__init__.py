"""Language models that are trained from random weights in a study: data, tokens, model and run."""
