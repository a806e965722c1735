"""What type checkers say."""
