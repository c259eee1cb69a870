"""Telling other servers, and being told by them."""

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from benchmarks.bench import HISTORY_PAGE, Bench, check_room, send_many
from benchmarks.client import CLIENT, Json, Metrics, User, check, each, latency, percentile, until_done
from benchmarks.peer_rooms import VERSION, PeerRoom
from benchmarks.peers import Peer, Peers, Signed
from benchmarks.server import Spent
from synapse_lite.matrix.event import Event
from synapse_lite.matrix.signing import SigningKey

WARM_UP = "message of the beginning"
SERVER = "bench.test"
PDUS = 50  # of a transaction
SENDERS = 5  # servers that send at the same time
ATTACKS = 50  # transactions, after which their events begin again
ATTACK_SECONDS = 0.1  # from one to the next
MOST_RISE = 4  # of the time of all sends
MEMBER_SERVERS = 10  # that the members of a large room come from


async def fed_fanout(bench: Bench) -> Metrics:
    """One user sends into a room with members on 100 other servers, until each of these has all of it."""
    (owner,) = await bench.users(1)
    room, count = await owner.create_room(), bench.sizes.fed_messages
    with tempfile.TemporaryDirectory() as directory:
        async with Peers(bench.sizes.fed_servers, Path(directory)) as peers:
            joining = list(peers.all.values())
            await each(lambda peer: peer.join(bench.http.session, "bench.test", room), joining)
            await owner.send(room, WARM_UP)
            await peers.wait_for({WARM_UP}, bench.sizes.limit_s)
            before, start = bench.server.spent(), time.perf_counter()
            _, times = await send_many(owner, room, count)
            texts = {f"message {number}" for number in range(count)}
            end = await peers.wait_for(texts, bench.sizes.limit_s)
            spent = bench.server.spent()
            told = count * len(joining)
    return {"told_per_s": told / (end - start), **latency(times, "send_"), **spent.each_ms(before, told)}


async def fed_inbound(bench: Bench) -> Metrics:
    """Messages of another server, first into one room, then of five servers into 50 rooms, until the last can be read."""
    (owner,) = await bench.users(1)
    count, sizes = bench.sizes.fed_pdus, bench.sizes
    async with _peers(SENDERS) as peers:
        others = list(peers.all.values())
        first = await _shared_room(bench, owner, others[0])
        await _tell(bench, owner, others[0], [first.say(others[0].user, PDUS)])
        one_room = await _timed(bench, owner, {0: [first.say(others[0].user, count)]}, others)
        rooms = {
            place: [await _shared_room(bench, owner, peer) for _ in range(max(1, sizes.fed_rooms // SENDERS))]
            for place, peer in enumerate(others)
        }
        each_room = max(1, count // sizes.fed_rooms)
        said = {
            place: [room.say(others[place].user, each_room) for room in some] for place, some in rooms.items()
        }
        many_rooms = await _timed(bench, owner, said, others)
        events = (await owner.history(first.room_id, HISTORY_PAGE)).events
        told = sum(event["type"] == "m.room.message" for event in events)
        check(told == count + PDUS, f"{count + PDUS} messages were sent, {told} are in the room")
    return {
        **{f"one_room_{name}": figure for name, figure in one_room.items()},
        **{f"many_rooms_{name}": figure for name, figure in many_rooms.items()},
    }


async def fed_join(bench: Bench) -> Metrics:
    """A user of ours joins a room of 5,000 members on other servers, and reads who is in it."""
    (user,) = await bench.users(1)
    async with _peers(MEMBER_SERVERS) as peers:
        room = _large_room(peers, bench.sizes.fed_members)
        before, start = bench.server.spent(), time.perf_counter()
        await _join(user, room)
        joined = time.perf_counter()
        members = await user.call("GET", f"{CLIENT}/rooms/{quote(room.room_id)}/members", membership="join")
        end, spent = time.perf_counter(), bench.server.spent()
        found = len(members["chunk"])
        check(found == bench.sizes.fed_members + 2, f"{found} members")
    return {
        "join_s": joined - start,
        "all_members_s": end - start,
        "main_mb": bench.server.memory_mb()["main"],
        **spent.each_ms(before, 1),
    }


async def fed_backfill(bench: Bench) -> Metrics:
    """A user of ours scrolls up in a room that was joined just now, through 1,000 messages that another server has."""
    (user,) = await bench.users(1)
    count = bench.sizes.fed_history
    async with _peers(1) as peers:
        (peer,) = peers.all.values()
        room = peers.rooms[f"!history:{peer.name}"] = PeerRoom.create(peer.key, "history")
        room.say(f"@history:{peer.name}", count)
        await _join(user, room)
        before, start = bench.server.spent(), time.perf_counter()
        texts: set[str] = set()
        position: Json = {}
        while len(texts) < count:
            path = f"{CLIENT}/rooms/{quote(room.room_id)}/messages"
            page = await user.call("GET", path, dir="b", limit=100, **position)
            texts |= {one["content"]["body"] for one in page["chunk"] if one["type"] == "m.room.message"}
            check(len(texts) == count or "end" in page, f"history ends after {len(texts)} messages")
            position = {"from": page.get("end", "")}
        end, spent = time.perf_counter(), bench.server.spent()
    return {"whole_s": end - start, **spent.each_ms(before, count)}


async def fed_resolution(bench: Bench) -> Metrics:
    """Two branches of a room meet, in which 1,000 members joined differently; one of them is new to the server."""
    (owner,) = await bench.users(1)
    count = bench.sizes.fed_conflicts
    async with _peers(1) as peers:
        (peer,) = peers.all.values()
        ours = await _shared_room(bench, owner, peer)
        peers.rooms[ours.room_id] = ours
        other = ours.branch()
        users = [(f"@c{number}:{peer.name}", peer.key) for number in range(count)]
        await _tell(bench, owner, peer, [ours.join(users, "one")])
        other.join(users, "another")
        before, start = bench.server.spent(), time.perf_counter()
        await _tell(bench, owner, peer, [other.say(peer.user, 1)])
        other.tips = [*ours.tips, *other.tips]
        await _tell(bench, owner, peer, [other.say(peer.user, 1)])
        end, spent = time.perf_counter(), bench.server.spent()
        members = await owner.call("GET", f"{CLIENT}/rooms/{quote(ours.room_id)}/members", membership="join")
        check(len(members["chunk"]) == count + 2, f"{len(members['chunk'])} members")
        names = {member["content"].get("displayname") for member in members["chunk"]}
        check({"one", "another"} & names != set(), "no branch has won")
    return {
        "merged_s": end - start,
        "main_mb": bench.server.memory_mb()["main"],
        **spent.each_ms(before, 1),
    }


async def fed_hostile(bench: Bench) -> Metrics:
    """One user sends, while another server sends forged and groundless events for another room, ten transactions of 50 a second."""
    owner, sender = await bench.users(2)
    count = 3 * bench.sizes.seq_sends  # its 99th percentile is compared
    async with _peers(1) as peers:
        (peer,) = peers.all.values()
        attacked, free = await _shared_room(bench, owner, peer), await sender.create_room()
        start = bench.server.spent()
        ids, idle = await send_many(sender, free, count)
        # All are signed before: this process, which takes the time of the sends, has nothing to do for them then.
        attacks = _attacks(attacked, peer, int(MOST_RISE * sum(idle) / ATTACK_SECONDS) + 1)
        before = bench.server.spent()
        refused: list[int] = []
        async with asyncio.TaskGroup() as group:
            attacking = group.create_task(_attack_until_cancelled(bench, attacks, refused))
            more, beside = await send_many(sender, free, count)
            check(attacking.cancel(), "the attack ended before the sends")
        spent = bench.server.spent()
        await check_room(sender, free, [ids, more])
        check(sum(refused) >= PDUS // 2, "no forged event was refused")
    rise = percentile(beside, 0.99) / percentile(idle, 0.99)
    attack = Spent(spent.main - before.main + start.main, spent.postgres - before.postgres + start.postgres)
    return {
        **latency(idle, "idle_"),
        **latency(beside, "beside_"),
        "p99_rise": rise,
        "transactions": len(refused),
        **attack.each_ms(before, len(refused)),
    }


def _attack(room: PeerRoom, peer: Peer) -> list[Json]:
    """Events with wrong signatures, and as many that follow what nobody has."""
    unfounded = [room.say(peer.user, 2)[1].pdu for _ in range(PDUS // 2)]
    forged = {peer.name: {peer.key.key_id: "A" * 86}}
    return [*unfounded, *({**event.pdu, "signatures": forged} for event in room.say(peer.user, PDUS // 2))]


def _attacks(room: PeerRoom, peer: Peer, count: int) -> list[Signed]:
    """Transactions; after `ATTACKS` their events begin again."""
    events = [_attack(room, peer) for _ in range(min(count, ATTACKS))]
    return [peer.transaction(SERVER, pdus) for pdus in itertools.islice(itertools.cycle(events), count)]


async def _attack_until_cancelled(bench: Bench, attacks: list[Signed], refused: list[int]) -> None:
    """As often as the default of `rc_federation` lets a server."""
    for attack in attacks:
        results = await attack.results(bench.http.session)
        refused.append(sum("error" in result for result in results.values()))
        await asyncio.sleep(ATTACK_SECONDS)


@asynccontextmanager
async def _peers(count: int) -> AsyncIterator[Peers]:
    with tempfile.TemporaryDirectory() as directory:
        async with Peers(count, Path(directory)) as peers:
            yield peers


async def _shared_room(bench: Bench, owner: User, peer: Peer) -> PeerRoom:
    """A room of the owner that the peer has joined."""
    body = {"preset": "public_chat", "room_version": VERSION.identifier}
    room_id = (await owner.call("POST", f"{CLIENT}/createRoom", body))["room_id"]
    return await peer.join(bench.http.session, SERVER, room_id)


async def _tell(bench: Bench, owner: User, peer: Peer, of_rooms: list[list[Event]]) -> None:
    """Send the events of rooms, some of each with each transaction, until the owner can read the last of each.

    One transaction ahead: of what waits longer Synapse keeps only the newest.
    """
    share = max(1, PDUS // len(of_rooms))
    for start in range(0, max(map(len, of_rooms)), share):
        if start > PDUS:
            await _readable(bench, owner, of_rooms[0][start - PDUS - 1])
        pdus = [event for events in of_rooms for event in events[start : start + share]]
        await peer.send(bench.http.session, SERVER, pdus)
    for events in of_rooms:
        await _readable(bench, owner, events[-1])


async def _readable(bench: Bench, user: User, event: Event) -> None:
    async def ask() -> bool:
        status, _ = await user.event(event.room_id, event.event_id)
        return status == 200

    await until_done(ask, bench.sizes.limit_s)


async def _timed(
    bench: Bench, owner: User, said: dict[int, list[list[Event]]], others: list[Peer]
) -> Metrics:
    """`said` are the events of rooms by the place of who sends them."""
    count = sum(len(events) for of_rooms in said.values() for events in of_rooms)
    before, start = bench.server.spent(), time.perf_counter()
    await each(lambda one: _tell(bench, owner, others[one[0]], one[1]), said.items(), len(said))
    end, spent = time.perf_counter(), bench.server.spent()
    return {"per_s": count / (end - start), **spent.each_ms(before, count)}


def _large_room(peers: Peers, members: int) -> PeerRoom:
    host, *_ = others = list(peers.all.values())
    room = PeerRoom.create(host.key, "large")
    room.join(_users(others, members), "member")
    room.say(f"@large:{host.name}", 1)
    peers.rooms[room.room_id] = room
    return room


def _users(peers: list[Peer], count: int) -> Iterable[tuple[str, SigningKey]]:
    for number in range(count):
        peer = peers[number % len(peers)]
        yield f"@m{number}:{peer.name}", peer.key


async def _join(user: User, room: PeerRoom) -> None:
    path = f"{CLIENT}/join/{quote(room.room_id)}"
    await user.call("POST", path, {}, server_name=room.key.server_name, via=room.key.server_name)
