"""`synapse-lite up` as its users see it: a Matrix client of others' making, and Ctrl-C."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nio
import pytest

from tests.processes.harness import START, STOP, Server, is_running, processes_of, wait_until

SYNC_MS = 10_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("clients"), "--server-name", "clients.test", workers=2) as server:
        yield server


async def log_in(server: Server, name: str) -> nio.AsyncClient:
    client = nio.AsyncClient(server.base_url, f"@{name}:clients.test")
    answer = await client.login("secret")
    assert isinstance(answer, nio.LoginResponse), answer
    return client


async def sync(client: nio.AsyncClient) -> nio.SyncResponse:
    answer = await client.sync(timeout=SYNC_MS)
    assert isinstance(answer, nio.SyncResponse), answer
    return answer


async def next_event(client: nio.AsyncClient, room_id: str, wanted: type[Any]) -> Any:
    """The first event of that kind which a sync brings; AssertionError after `START` seconds."""
    async with asyncio.timeout(START):
        while True:
            joined = (await sync(client)).rooms.join
            if room_id in joined:
                for event in joined[room_id].timeline.events:
                    if isinstance(event, wanted):
                        return event


async def converse(server: Server) -> None:
    writer, reader = await log_in(server, "writer"), await log_in(server, "reader")
    try:
        created = await writer.room_create(preset=nio.RoomPreset.public_chat, name="A room")
        assert isinstance(created, nio.RoomCreateResponse), created
        room_id = created.room_id
        assert isinstance(await reader.join(room_id), nio.JoinResponse)
        for client in (writer, reader):
            await sync(client)
            assert room_id in client.rooms
        assert reader.rooms[room_id].display_name == "A room"
        assert set(reader.rooms[room_id].users) == {writer.user_id, reader.user_id}

        sent = await writer.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "spam"})
        assert isinstance(sent, nio.RoomSendResponse), sent
        seen = await next_event(reader, room_id, nio.RoomMessageText)
        assert (seen.event_id, seen.sender, seen.body) == (sent.event_id, writer.user_id, "spam")

        path = f"/_synapse/admin/v1/user/{writer.user_id}/redact"
        await asyncio.to_thread(server.request, "POST", path, {"rooms": []}, server.admin_token)
        redaction = await next_event(reader, room_id, nio.RedactionEvent)
        assert redaction.sender == writer.user_id
        history = await reader.room_messages(room_id, limit=100)
        assert isinstance(history, nio.RoomMessagesResponse), history
        (gone,) = [event for event in history.chunk if event.event_id == sent.event_id]
        assert isinstance(gone, nio.RedactedEvent)
        assert gone.source["content"] == {}
        assert gone.redacter == writer.user_id
        newcomer = await log_in(server, "reader")
        try:
            timeline = (await sync(newcomer)).rooms.join[room_id].timeline.events
            assert not any(isinstance(event, nio.RoomMessageText) for event in timeline)
        finally:
            await newcomer.close()
    finally:
        await writer.close()
        await reader.close()


def test_a_client_talks_and_sees_the_redaction(server: Server) -> None:
    """matrix-nio logs in, syncs, makes a room, sends and reads; an admin's redaction reaches it as such."""
    for name in ("writer", "reader"):
        server.register(name)
    asyncio.run(converse(server))


def test_nothing_outlives_an_interrupt(tmp_path: Path) -> None:
    """SIGINT to `up` ends it with its workers and its database."""
    with Server(tmp_path, "--server-name", "brief.test", workers=2) as server:
        pids = list(server.ready["pids"].values())
        assert len(pids) == 3
        assert all(map(is_running, pids))
        server.running.send_signal(signal.SIGINT)
        assert server.running.wait(STOP) == 0
        assert not any(map(is_running, pids))
        wait_until(lambda: not processes_of(server.data_dir), "the end of all of them")
