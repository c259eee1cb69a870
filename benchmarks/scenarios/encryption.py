"""What encryption asks of a server: keys of many devices, messages to many devices, and its part in every sync."""

import secrets
import time
from urllib.parse import quote

import orjson

from benchmarks.bench import Bench
from benchmarks.client import CLIENT, Inbox, Json, Metrics, User, check, each, latency
from benchmarks.device import ALGORITHM, Device
from benchmarks.scenarios.reading import arrivals

CIPHERTEXT = "x" * 1000
FETCHING = 50
"""Devices that fetch their messages at a time: the figure is a rate, so the server has to be busy throughout."""
FILTER = {
    "room": {
        "timeline": {"limit": 20, "unread_thread_notifications": True},
        "state": {"lazy_load_members": True},
    }
}
"""As Element sends it."""


async def keys_query(bench: Bench) -> Metrics:
    """Ask for the keys of the devices of 300 users, as before the first message in their room."""
    devices = await bench.devices(bench.sizes.encrypting_users)
    wanted = {"device_keys": {device.user.user_id: [] for device in devices}}
    times, before = [], bench.server.spent()
    for _ in range(bench.sizes.key_requests):
        answer, seconds = await devices[0].user.timed("POST", f"{CLIENT}/keys/query", wanted)
        times.append(seconds)
        found = answer["device_keys"]
        check(
            all(device.device_id in found[device.user.user_id] for device in devices), "a device is missing"
        )
    return {**latency(times), **bench.server.spent().each_ms(before, len(times))}


async def keys_claim(bench: Bench) -> Metrics:
    """Claim a one-time key of each of 300 devices."""
    devices = await bench.devices(bench.sizes.encrypting_users)
    await each(lambda device: device.upload_one_time_keys(bench.sizes.key_requests), devices)
    wanted = {"one_time_keys": {one.user.user_id: {one.device_id: ALGORITHM} for one in devices}}
    times, seen, before = [], set(), bench.server.spent()
    for _ in range(bench.sizes.key_requests):
        answer, seconds = await devices[0].user.timed("POST", f"{CLIENT}/keys/claim", wanted)
        times.append(seconds)
        for user_id, by_device in answer["one_time_keys"].items():
            seen.update((user_id, name) for keys in by_device.values() for name in keys)
    cost = bench.server.spent().each_ms(before, len(times))
    check(len(seen) == len(devices) * bench.sizes.key_requests, "a key is missing, or was given out twice")
    return {**latency(times), **cost}


async def to_device(bench: Bench) -> Metrics:
    """One request with a message of its own for each of 500 devices; then each of them fetches its messages."""
    devices = await bench.devices(bench.sizes.addressed_devices)
    sender, repeats = devices[0].user, bench.sizes.to_device_requests
    tokens = await each(_token, devices)
    times, before = [], bench.server.spent()
    for number in range(repeats):
        content = {"algorithm": "m.olm.v1.curve25519-aes-sha2", "ciphertext": CIPHERTEXT, "number": number}
        messages = {
            one.user.user_id: {one.device_id: {**content, "ciphertext": one.device_id + CIPHERTEXT}}
            for one in devices
        }
        path = f"{CLIENT}/sendToDevice/m.room.encrypted/{secrets.token_hex(8)}"
        times.append((await sender.timed("PUT", path, {"messages": messages}))[1])
    sent = bench.server.spent()
    start = time.perf_counter()
    fetching = zip(devices, tokens, strict=True)
    inboxes = await each(lambda one: one[0].user.sync(one[1]), fetching, FETCHING)
    seconds = time.perf_counter() - start
    cost = bench.server.spent().each_ms(sent, len(devices))
    numbers = [[event["content"]["number"] for event in inbox["to_device"]["events"]] for inbox in inboxes]
    check(all(one == list(range(repeats)) for one in numbers), "messages lost, repeated or out of order")
    return {
        **latency(times),
        **sent.each_ms(before, repeats),
        "deliveries_per_s": len(devices) * repeats / seconds,
        **{f"fetch_{name}": value for name, value in cost.items()},
    }


async def e2ee_send(bench: Bench) -> Metrics:
    """From the start of a send to its arrival at the last of 50 lazy-loading, encrypting, long-polling receivers."""
    return await _deliveries(bench, bench.sizes.encrypting_clients, bench.sizes.encrypted_messages)


async def e2ee_latency(bench: Bench) -> Metrics:
    """As sync_latency, to one lazy-loading, encrypting, long-polling receiver."""
    return await _deliveries(bench, 1, bench.sizes.latency_messages)


async def _deliveries(bench: Bench, receivers: int, messages: int) -> Metrics:
    devices = await bench.devices(receivers + 1)
    sender, *members = [device.user for device in devices]
    room = await sender.create_room()
    state = f"{CLIENT}/rooms/{quote(room)}/state/m.room.encryption"
    await sender.call("PUT", state, {"algorithm": "m.megolm.v1.aes-sha2"})
    await each(lambda user: user.join(room), members)
    inboxes = [_EncryptedInbox(member, room) for member in members]
    firsts = await each(lambda inbox: inbox.sync(None, 0), inboxes)
    texts = [str(number) for number in range(messages)]
    return await arrivals(inboxes, firsts, texts, lambda text: _send_encrypted(sender, room, text))


class _EncryptedInbox(Inbox):
    """As Element polls; the message's number stands beside its ciphertext."""

    async def sync(self, since: str | None, timeout_ms: int) -> Json:
        query: Json = {"since": since} if since else {}
        wanted = orjson.dumps(FILTER).decode()
        path = f"{CLIENT}/sync"
        answer = await self.user.call("GET", path, timeout=timeout_ms, filter=wanted, **query)
        check(ALGORITHM in answer["device_one_time_keys_count"], "no count of one-time keys")
        return answer

    def text_of(self, event: Json) -> str | None:
        found: str | None = event["content"]["session_id"] if event["type"] == "m.room.encrypted" else None
        return found


async def _send_encrypted(user: User, room: str, text: str) -> None:
    content = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "ciphertext": CIPHERTEXT,
        "session_id": text,
        "device_id": "D",
        "sender_key": "K",
    }
    path = f"{CLIENT}/rooms/{quote(room)}/send/m.room.encrypted/{secrets.token_hex(8)}"
    await user.call("PUT", path, content)


async def _token(device: Device) -> str:
    return str((await device.user.sync())["next_batch"])
