-- Rooms that nobody may enter, that are going, and that are gone.

-- Set: nothing is written into the room any more, because its rows are being deleted.
ALTER TABLE rooms ADD COLUMN purging BOOLEAN NOT NULL DEFAULT FALSE;

-- By text id: a room may be blocked before this server knows it.
CREATE TABLE blocked_rooms (
    room_id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL          -- who blocked it
);

-- What the rows of kind ROOM_GONE in the stream are about, after everything else about the room is gone.
CREATE TABLE purged_rooms (
    room_nid BIGINT PRIMARY KEY,
    room_id TEXT NOT NULL,
    purged_ts BIGINT NOT NULL
);

-- While a task purges the history of a room: the snapshots of which it has found no use so far.
CREATE TABLE snapshot_candidates (
    room_nid BIGINT NOT NULL,
    task_id TEXT NOT NULL,
    snapshot_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, task_id, snapshot_nid)
);

CREATE INDEX events_room ON events (room_nid, depth, event_nid);
CREATE INDEX redactions_room ON redactions (room_nid, event_nid);
CREATE INDEX state_snapshots_room ON state_snapshots (room_nid, snapshot_nid);
