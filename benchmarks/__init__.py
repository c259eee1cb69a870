"""Side-by-side measurements of synapse_lite and Synapse: `python -m benchmarks --help`."""
