"""What is said of an error, where operators see it."""

import traceback

from synapse_lite.errors import SynapseLiteError

MAX_ERROR_LENGTH = 1000


def describe(error: Exception) -> str:
    """What happened and where, without the content of events that the text of an exception may quote."""
    if isinstance(error, SynapseLiteError):
        return fit_error(str(error))
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "synapse_lite" in frame.filename] or frames
    place = f" in {ours[-1].name}, line {ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}"


def fit_error(error: str) -> str:
    """As much of it as is stored."""
    return error.replace("\0", "")[:MAX_ERROR_LENGTH]
