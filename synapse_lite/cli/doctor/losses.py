"""What a deployment of Synapse would lose here: its options that change nothing, in the words of its users."""

from collections.abc import Iterator

from synapse_lite.cli.doctor.findings import Finding, ok, warning
from synapse_lite.config.losses import describe_losses
from synapse_lite.config.model import Config


def check_losses(config: Config) -> Iterator[Finding]:
    lost = list(describe_losses(config))
    if lost:
        yield warning(
            "synapse",
            "some of what Synapse would do is not done here",
            "see whether your users miss it",
            lost,
        )
    else:
        yield ok("synapse", "no option of Synapse that is given is missed")
