"""Rows of another server's database become ours, many at a time. What is here already, by its key, stays as it is."""
