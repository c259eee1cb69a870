"""The command `doctor`."""

from synapse_lite.cli.doctor.command import doctor

__all__ = ["doctor"]
