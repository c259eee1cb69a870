-- Rooms that nobody may enter, that are going, and that are gone.

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

-- Which task redacts in a room at present: a second one that works there would only wait for the first.
CREATE TABLE redacting_rooms (
    room_nid BIGINT PRIMARY KEY,
    task_id TEXT NOT NULL REFERENCES scheduled_tasks ON DELETE CASCADE
);
CREATE INDEX redacting_rooms_task ON redacting_rooms (task_id);
