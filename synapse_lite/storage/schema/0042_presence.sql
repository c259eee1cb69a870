-- Who is there. Times are milliseconds since 1970, unless they are by the clock of the engine.

-- What others see of a user of this server, or of one of another with whom somebody here shares a room.
CREATE TABLE presence (
    user_id TEXT PRIMARY KEY,
    state TEXT NOT NULL DEFAULT 'offline' CHECK (state IN ('online', 'unavailable', 'offline')),
    status_msg TEXT,
    last_active_ts BIGINT NOT NULL DEFAULT 0,
    currently_active BOOLEAN NOT NULL DEFAULT FALSE,
    check_ts BIGINT,                       -- when it may be something else by then; NULL: only when somebody says so
    position BIGINT NOT NULL DEFAULT 0     -- in the stream, of the last change
);
CREATE INDEX presence_check ON presence (check_ts) WHERE check_ts IS NOT NULL;
CREATE INDEX presence_position ON presence (position);
CREATE INDEX presence_there ON presence (last_active_ts) WHERE state <> 'offline';

-- The processes that speak for devices, by the clock of the engine. What follows is worth nothing after a crash.
CREATE UNLOGGED TABLE presence_processes (
    process TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

-- What a device says of its user, by way of a process: the last word counts. A device without an id is ''.
CREATE UNLOGGED TABLE presence_claims (
    process TEXT NOT NULL,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    state TEXT NOT NULL,
    active_ts BIGINT NOT NULL,             -- when the user last did something there
    said_ts BIGINT NOT NULL,
    PRIMARY KEY (user_id, device_id, process)
);
CREATE INDEX presence_claims_process ON presence_claims (process);
