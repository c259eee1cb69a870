"""Keys, messages and device lists under random interleavings, while processes are killed."""

import signal
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from operator import ge
from random import Random, SystemRandom
from threading import Event

import pytest

from synapse_lite.cli.demo.connection import User
from tests.processes.conftest import BuildSite
from tests.processes.encrypting import CLIENT, Client, Ledger, Passing, repeat
from tests.processes.harness import wait_until
from tests.processes.site import Site, create_room
from tests.signing import Device

USERS = ("alice", "bob", "carol")
PROCESSES = ("main", "second")
CLAIMERS = 8
KILLS = 4
DEEDS_BETWEEN = 25
PASSING = "PASSING"


@pytest.fixture(scope="module")
def site(build_site: BuildSite) -> Site:
    site = build_site("main")
    site.start(*PROCESSES)
    return site


def _clients(site: Site, seed: int, ledger: Ledger) -> list[Client]:
    """A device of each user, whose keys are uploaded; all are in one room, and have synced."""
    users = [site.user(name) for name in USERS]
    create_room(users[0], *users[1:])
    urls = [site.url(name) for name in PROCESSES]
    clients = []
    for number, user in enumerate(users):
        device = Device.of(user.user_id, _device_id(user))
        clients.append(Client(urls, device, user.access_token, ledger, Random(seed + number)))
        clients[-1].upload()
    for client in clients:
        client.sync()
    return clients


def _device_id(user: User) -> str:
    with user.connect() as connection:
        return str(connection.call("GET", f"{CLIENT}/account/whoami")["device_id"])


def _kill_in_turn(site: Site, ledger: Ledger) -> None:
    """Each time after some more of everything."""
    for number in range(KILLS):
        wanted = [done + DEEDS_BETWEEN for done in ledger.counts()]
        wait_until(lambda wanted=wanted: all(map(ge, ledger.counts(), wanted)), "more of everything")
        name = PROCESSES[number % len(PROCESSES)]
        site.signal(name, signal.SIGKILL)
        site.processes[name].running.wait()
        site.launch(name)
        site.processes[name].wait_healthy(site.url(name))


def _is_enough(ledger: Ledger) -> bool:
    with ledger.lock:
        return (
            len(ledger.claimed) > CLAIMERS
            and len(ledger.lives) > KILLS
            and bool(ledger.passing_received)
            and any(key in ledger.claimed for life in ledger.lives for key in life.keys)
            and all(len(numbers) > KILLS for numbers in list(ledger.sent.values()))
        )


def test_no_key_twice_and_no_message_lost(site: Site) -> None:
    """Uploads, claims from eight threads, messages, renamed and deleted devices, syncs, of any process, through kills."""
    seed = SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 (shown when the test fails)
    ledger = Ledger()
    clients = _clients(site, seed, ledger)
    is_over = Event()
    owner = clients[0]
    passing = Passing(
        owner.urls, Device.of(owner.user_id, PASSING), owner.token, ledger, Random(seed + len(clients))
    )
    with ThreadPoolExecutor(4 * len(clients) + CLAIMERS + 2) as pool:
        running: list[Future[None]] = [
            pool.submit(repeat, passing.live, is_over),
            pool.submit(repeat, partial(clients[1].send_in_passing, passing), is_over),
        ]
        for client in clients:
            others = [other for other in clients if other is not client]
            deeds = (client.upload, partial(client.send, others), client.rename, client.sync)
            running += [pool.submit(repeat, deed, is_over) for deed in deeds]
        for number in range(CLAIMERS):
            random = Random(seed - number)

            def claim(random: Random = random) -> None:
                one, other = random.sample(clients, 2)
                one.claim(other if random.random() < 0.8 else passing)

            running.append(pool.submit(repeat, claim, is_over))
        try:
            _kill_in_turn(site, ledger)
            wait_until(lambda: _is_enough(ledger), "enough of everything")
        finally:
            is_over.set()
        for future in running:
            future.result()
    for client in clients:
        while client.sync():
            pass
        client.sync()
    ledger.check()
    assert site.value("SELECT count(*) FROM device_inbox") == 0


def test_a_new_device_inherits_nothing(site: Site) -> None:
    """A device that is deleted while others write to it leaves neither keys nor messages to its successor."""
    user = site.user("dora")
    ledger = Ledger()
    urls = [site.url(name) for name in PROCESSES]
    device_id = _device_id(user)
    old = Client(urls, Device.of(user.user_id, device_id), user.access_token, ledger, Random(1))
    old.upload()
    writer_user = site.user("eve")
    writer = Client(
        urls,
        Device.of(writer_user.user_id, _device_id(writer_user)),
        writer_user.access_token,
        ledger,
        Random(2),
    )
    is_over = Event()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(repeat, partial(writer.send, [old]), is_over)
        wait_until(
            lambda: len(ledger.sent.get((writer.device_id, device_id), ())) > DEEDS_BETWEEN, "messages"
        )
        old.call("POST", "/logout", {})
        is_over.set()
        writing.result()
    login = {"type": "m.login.password", "user": "dora", "password": "secret", "device_id": device_id}
    token = old.call("POST", "/login", login)["access_token"]
    new = Client(urls, Device.of(user.user_id, device_id), token, Ledger(), Random(3))
    assert new.sync() == 0
    wanted = {"one_time_keys": {user.user_id: {device_id: "signed_curve25519"}}}
    assert writer.call("POST", "/keys/claim", wanted)["one_time_keys"] == {}
    new.upload()
    shown = writer.call("POST", "/keys/query", {"device_keys": {user.user_id: []}})
    assert shown["device_keys"][user.user_id][device_id]["keys"] == new.device.keys["keys"]
