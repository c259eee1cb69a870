-- Who reads the stream behind those who write it, and how far they have come.

CREATE TABLE followers (
    name TEXT NOT NULL,
    shard SMALLINT NOT NULL,
    position BIGINT NOT NULL DEFAULT 0, -- everything up to here is done
    delivering BIGINT,                  -- up to here it was being delivered to the outside
    owner TEXT,                         -- task_runners.runner, living or dead
    epoch BIGINT NOT NULL DEFAULT 0,    -- counts the claims; every write of an owner names it
    attempt INTEGER NOT NULL DEFAULT 0, -- failures since the last progress
    error TEXT,
    run_at BIGINT NOT NULL DEFAULT 0,
    paused BOOLEAN NOT NULL DEFAULT FALSE,
    seen_at BIGINT NOT NULL,            -- when a process that is able to run it was last there
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (name, shard)
) WITH (fillfactor = 50);

-- What each room and each user has written here, counted by the follower `statistics`. A purged history stays
-- counted; a purged room does not.
CREATE TABLE room_stats (
    room_nid BIGINT PRIMARY KEY,
    events BIGINT NOT NULL,
    state_events BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    bytes BIGINT NOT NULL,              -- of the JSON of the events
    last_event_ts BIGINT NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX room_stats_bytes ON room_stats (bytes DESC, room_nid);

CREATE TABLE user_stats (
    user_id TEXT PRIMARY KEY,
    events BIGINT NOT NULL,
    messages BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    last_event_ts BIGINT NOT NULL
) WITH (fillfactor = 70);
