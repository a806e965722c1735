"""The report: runs as one HTML file that needs no network. Facts come in, aggregates and a page go out."""
