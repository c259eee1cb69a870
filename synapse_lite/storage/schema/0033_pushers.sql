-- Pushers, and what they still have to push. Times are milliseconds since 1970.

-- `version` is another one each time that the client sets it; `work` counts what may be new for it: whoever has
-- pushed all clears `pending` only if nothing was added meanwhile.
CREATE SEQUENCE pusher_versions;
CREATE TABLE pushers (
    app_id TEXT NOT NULL,
    pushkey TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users,
    device_id TEXT,                -- NULL: it goes with the account
    kind TEXT NOT NULL,
    app_display_name TEXT NOT NULL,
    device_display_name TEXT NOT NULL,
    profile_tag TEXT,
    lang TEXT NOT NULL,
    data TEXT NOT NULL,            -- JSON
    enabled BOOLEAN NOT NULL,      -- false: nothing is pushed until it is enabled again
    created_ts BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT nextval('pusher_versions'),
    pushed_upto BIGINT NOT NULL,   -- position: what is before is pushed, or was not to be
    badge INTEGER NOT NULL DEFAULT 0,
    pending BOOLEAN NOT NULL DEFAULT FALSE,
    work BIGINT NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    run_at BIGINT NOT NULL DEFAULT 0,
    claimed_until BIGINT NOT NULL DEFAULT 0, -- somebody is pushing; after that they are dead
    PRIMARY KEY (app_id, pushkey, user_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
) WITH (fillfactor = 70);
CREATE INDEX pushers_user ON pushers (user_id, device_id);
CREATE INDEX pushers_pending ON pushers (run_at, user_id) WHERE pending;

-- What the rules of those with pushers said of events, until it is pushed.
CREATE TABLE push_queue (
    user_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    thread_id TEXT NOT NULL,
    tweaks TEXT NOT NULL,          -- JSON
    queued_ts BIGINT NOT NULL,
    PRIMARY KEY (user_id, position)
);
CREATE INDEX push_queue_room ON push_queue (room_nid, position, user_id);
