"""The main job from its beginning to its proof."""

import time
from collections.abc import Sequence

from synapse_lite.cli.demo.reading import Reading, examine, read_events
from synapse_lite.cli.demo.redaction import redact, runners_of
from synapse_lite.cli.demo.report import Measured, Report, write_report
from synapse_lite.cli.demo.stages import Stages
from synapse_lite.cli.demo.traffic import Cast, Plan, Room, concurrently, create_rooms, part, send_spam
from synapse_lite.cli.ready import Ready


def rehearse(
    cast: Cast, plan: Plan, ready: Ready, workers: Sequence[str], stages: Stages, started: float
) -> Report:
    """Spam, redact, read back. `started` is the monotonic time when the command began. Raises DemoError."""
    rooms = create_rooms(cast, plan, stages)
    sending = time.monotonic()
    send_spam(cast, rooms, stages)
    sent = time.monotonic()
    part(cast, rooms)
    redaction = redact(cast.admin, cast.spammer.user_id, plan.messages + plan.rooms, stages)
    readings = read_back(cast, rooms, stages)
    return write_report(
        rooms,
        readings,
        redaction,
        workers=workers,
        runners=runners_of(redaction.task_id, ready.postgres),
        measured=Measured(total=time.monotonic() - started, sending=sent - sending),
    )


def read_back(cast: Cast, rooms: Sequence[Room], stages: Stages) -> list[Reading]:
    """What another member sees of each room."""
    with stages.stage("Reading everything back", len(rooms)) as stage:

        def read(room: Room) -> Reading:
            with cast.member.connect() as member:
                reading = examine(read_events(member, room.room_id), cast.spammer.user_id, cast.marker)
            stage.advance()
            return reading

        return concurrently(read, rooms)
