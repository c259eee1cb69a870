"""`python -m synapse_lite` is `synapse-lite`."""

from synapse_lite.cli import main

if __name__ == "__main__":
    main(prog_name="synapse-lite")
