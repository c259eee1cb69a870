"""Invites of spammers are taken back when what they wrote is redacted."""

from typing import Any

from pytest_twisted import ensureDeferred

from synapse_lite.rooms.append import append_all
from synapse_lite.rooms.values import Write
from synapse_lite.tasks.actions.redact_all_events import REDACT_ALL_EVENTS
from synapse_lite.tasks.actions.withdraw_invites import WITHDRAW_INVITES
from tests.builders import SERVER
from tests.rest.admin_server import V1, AdminServer

ROOMS = 2
INVITED = 11  # with both rooms more than a step does
OPEN: Any = {"power_level_content_override": {"invite": 0}}


async def invited_to(server: AdminServer, token: str) -> Any:
    return (await server.ok("GET", "sync", None, token)).get("rooms", {}).get("invite", {}).keys()


async def redact(server: AdminServer, **more: Any) -> Any:
    """What the redaction of the spammer came to."""
    path = f"{V1}/user/@spammer:{SERVER}/redact"
    redact_id = (await server.admin("POST", path, {"rooms": [], **more}))["redact_id"]
    await server.run_task(REDACT_ALL_EVENTS)
    return (await server.admin("GET", f"{V1}/scheduled_tasks/{redact_id}"))["result"]


@ensureDeferred
async def test_invites_of_a_spammer_are_withdrawn(server: AdminServer) -> None:
    """Also when they were put out of the room meanwhile; who has joined, and whom somebody else invited, stays."""
    owner, spammer = await server.user("owner"), await server.user("spammer")
    guests = [await server.user(f"guest{number}") for number in range(INVITED)]
    rooms = [await server.room(owner, **OPEN) for _ in range(ROOMS)]
    for room in rooms:
        await server.ok("POST", f"{room}/join", {}, spammer)
        for number in range(INVITED):
            target = {"user_id": f"@guest{number}:{SERVER}"}
            await server.ok("POST", f"{room}/invite", target, spammer)
    await server.ok("POST", f"{rooms[0]}/join", {}, guests[0])
    own = await server.room(owner)
    await server.ok("POST", f"{own}/invite", {"user_id": f"@guest1:{SERVER}"}, owner)
    await server.ok("POST", f"{rooms[0]}/ban", {"user_id": f"@spammer:{SERVER}"}, owner)
    assert "withdraw_invites_task" not in await redact(server)
    assert len(await invited_to(server, guests[1])) == ROOMS + 1
    result = await redact(server, withdraw_invites=True)
    await server.run_task(WITHDRAW_INVITES)
    task = await server.admin("GET", f"{V1}/scheduled_tasks/{result['withdraw_invites_task']}")
    assert task["result"] == {"withdrawn": ROOMS * INVITED - 1, "failed_to_withdraw": 0}
    assert task["items"] == {"withdrawn": ROOMS * INVITED - 1}
    for number, guest in enumerate(guests):
        left = {own.removeprefix("rooms/")} if number == 1 else set()
        assert await invited_to(server, guest) == left, number
    joined = (await server.ok("GET", "joined_rooms", None, guests[0]))["joined_rooms"]
    assert joined == [rooms[0].removeprefix("rooms/")]


@ensureDeferred
async def test_who_is_elsewhere_is_put_out_as_far_as_the_room_lets(server: AdminServer) -> None:
    """By who has invited them: a member without power cannot, and it is said of whom."""
    owner, spammer = await server.user("owner"), await server.user("spammer")
    room = await server.room(owner, **OPEN)
    await server.ok("POST", f"{room}/join", {}, spammer)
    invite = server.steps.world.draft(
        "m.room.member", f"@spammer:{SERVER}", {"membership": "invite"}, state_key="@far:elsewhere.test"
    )
    nid = await server.database.read(
        lambda txn: txn.value("SELECT room_nid FROM rooms WHERE room_id = %s", (room.removeprefix("rooms/"),))
    )
    await server.steps.do(lambda txn: append_all(txn, server.steps.world.appender, [Write(nid, invite)]))
    result = await redact(server, withdraw_invites=True)
    await server.run_task(WITHDRAW_INVITES)
    task = await server.admin("GET", f"{V1}/scheduled_tasks/{result['withdraw_invites_task']}")
    assert task["result"] == {"withdrawn": 0, "failed_to_withdraw": 1}
