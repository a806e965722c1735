"""`samplewise analyse`: a file for each question that it answers."""
