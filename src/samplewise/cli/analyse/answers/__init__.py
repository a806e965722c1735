"""What the sub-commands do. The analyses need packages that other commands do not, so these import late."""
