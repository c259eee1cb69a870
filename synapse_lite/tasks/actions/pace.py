"""Small pieces and rests between them: who serves people waits for a core no longer than a piece lasts.

When all cores are busy, a process that wakes up waits until another one gives its core back, or until the
kernel takes it away: a few milliseconds. Pieces of about a millisecond are what others hardly notice;
rests between longer ones do not help (docs/decisions/007).
"""

import time

ROWS_AT_ONCE = 200  # deleted by a statement
REST_S = 0.001


def rest() -> None:
    """Blocks: for steps, which run in threads of their own."""
    time.sleep(REST_S)
