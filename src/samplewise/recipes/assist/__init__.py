"""The assistant network of the recipe `auto_assist`."""
