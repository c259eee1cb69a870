"""Media deleted in bulk: by user, by age, with a redaction; what is spared stays."""

from pathlib import Path

from pytest_twisted import ensureDeferred

from synapse_lite.storage.database import Database
from synapse_lite.storage.media import files
from synapse_lite.storage.media.quarantine import Reason, quarantine
from synapse_lite.tasks.actions.delete_media import DeleteMedia, DeleteMediaParams
from synapse_lite.tasks.actions.media_retention import MediaLifetimes, expire_media
from tests.builders import MALLORY, SERVER
from tests.tasks.media import ALICE, Shelf
from tests.tasks.redacting import Moderation

STRANGER = "@stranger:else.test"
DAY_MS = 24 * 3600 * 1000


def deletion(shelf: Shelf) -> DeleteMedia:
    return DeleteMedia(shelf.clock, SERVER)


@ensureDeferred
async def test_of_a_user(database: Database, tmp_path: Path) -> None:
    """All that the user has uploaded, in steps of any size, but what is protected or hidden."""
    shelf = Shelf(database, tmp_path)
    for number in range(5):
        await shelf.add(f"a{number}", bytes([number]))
    await shelf.add("sticker", b"sticker")
    await shelf.add("hidden", b"hidden")
    await shelf.add("bob", b"bob", user_id="@bob:hs.test")
    await database.transact(files.protect, SERVER, "sticker", True)
    await database.transact(quarantine, [(SERVER, "hidden")], Reason("@admin:x", "test", 1))
    params = DeleteMediaParams(user_id=ALICE)
    dry = params.model_copy(update={"dry_run": True})
    assert await shelf.run(deletion(shelf), dry) == {"would_delete": 5, "bytes": 5}
    assert await shelf.run(deletion(shelf), params) == {"deleted": 5, "bytes": 5}
    assert await shelf.ids() == ["bob", "hidden", "sticker"]
    all_of_them = params.model_copy(update={"spares": False})
    assert (await shelf.run(deletion(shelf), all_of_them))["deleted"] == 2


@ensureDeferred
async def test_of_a_user_elsewhere(database: Database, tmp_path: Path) -> None:
    """Copies from the user's server that the user's events name; what belongs to others stays."""
    shelf, moderation = Shelf(database, tmp_path), Moderation(database)
    await moderation.open()
    room = await moderation.room(STRANGER)
    await shelf.add("spam", b"spam", origin="else.test", user_id=None)
    await shelf.add("other", b"other", origin="else.test", user_id=None)
    await shelf.add("avatar", b"avatar")
    for name in ("else.test/spam", f"{SERVER}/avatar", "else.test/unknown"):
        content = {"msgtype": "m.image", "url": f"mxc://{name}", "body": "x"}
        await moderation.send(room, "m.room.message", STRANGER, content)
    done = await shelf.run(deletion(shelf), DeleteMediaParams(user_id=STRANGER))
    assert done == {"deleted": 1, "bytes": 4}
    assert await shelf.ids() == ["avatar", "other"]


@ensureDeferred
async def test_with_a_redaction(database: Database, tmp_path: Path) -> None:
    """A redaction that is to delete media asks for it once, in its last step, however often that is tried."""
    shelf, moderation = Shelf(database, tmp_path), Moderation(database)
    await moderation.open()
    room = await moderation.room(MALLORY)
    await moderation.say(room, 3)
    task = await moderation.redact(delete_media=True)
    assert task.result is not None
    pending = await shelf.rows(
        "SELECT id, resource_id, requester FROM scheduled_tasks WHERE action = 'delete_media'"
    )
    assert pending == [(task.result["delete_media_task"], MALLORY, "@admin:hs.test")]
    await shelf.execute("DELETE FROM scheduled_tasks")
    for params in ({}, {"delete_media": True, "dry_run": True}):
        await moderation.redact(**params)
        assert await shelf.rows("SELECT 1 FROM scheduled_tasks WHERE action = 'delete_media'") == []


@ensureDeferred
async def test_lifetimes(database: Database, tmp_path: Path) -> None:
    """What nobody has used for so long goes, ours and copies each at their time; use, protection and avatars keep."""
    shelf = Shelf(database, tmp_path)
    for name in ("old", "used", "sticker", "avatar"):
        await shelf.add(name, name.encode())
    for name in ("copy", "usedcopy"):
        await shelf.add(name, name.encode(), origin="else.test", user_id=None)
    await database.transact(files.protect, SERVER, "sticker", True)
    await shelf.execute(
        "INSERT INTO users (user_id, created_ts, avatar_url) VALUES (%s, 1, %s)",
        ALICE,
        f"mxc://{SERVER}/avatar",
    )
    expiry = expire_media(shelf.clock, SERVER, MediaLifetimes(local_ms=10 * DAY_MS, remote_ms=5 * DAY_MS))
    assert await shelf.run(expiry) == {"local": 0, "remote": 0}
    shelf.clock.advance(6 * 24 * 3600)
    nids = await shelf.rows("SELECT media_nid FROM media WHERE media_id LIKE 'used%%'")
    await database.transact(files.note_access, [nid for (nid,) in nids], shelf.clock.now_ms())
    assert await shelf.run(expiry) == {"local": 0, "remote": 1}
    shelf.clock.advance(4.5 * 24 * 3600)
    assert await shelf.run(expiry) == {"local": 1, "remote": 0}
    assert await shelf.ids() == ["avatar", "sticker", "used", "usedcopy"]
    for_ever = expire_media(shelf.clock, SERVER, MediaLifetimes())
    shelf.clock.advance(1000 * 24 * 3600)
    await shelf.run(for_ever)
    assert len(await shelf.ids()) == 4
