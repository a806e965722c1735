"""One policy at work over n samples: no model and no loader."""
