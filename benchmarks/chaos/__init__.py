"""What goes wrong where servers and runs stay: done on purpose, from one seed, and looked at."""
