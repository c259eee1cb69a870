-- What sliding sync has told each client. Any process answers the next request from here.

CREATE TABLE sliding_connections (
    connection_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,       -- '': none
    conn_id TEXT NOT NULL,
    used_ts BIGINT NOT NULL,       -- to the day
    rooms_nid BIGINT NOT NULL,     -- the position whose answer changed `rooms` last
    rooms BYTEA NOT NULL,          -- the rooms as the client knows them, see `storage.sent_rooms`
    UNIQUE (user_id, device_id, conn_id)
);
CREATE INDEX sliding_connections_used ON sliding_connections (used_ts);

-- The position that the client confirmed last, and the newest answers to it.
CREATE TABLE sliding_positions (
    connection_nid BIGINT NOT NULL REFERENCES sliding_connections ON DELETE CASCADE,
    position_nid BIGINT GENERATED ALWAYS AS IDENTITY,
    position BIGINT NOT NULL,      -- of the stream
    confirmed BOOLEAN NOT NULL DEFAULT FALSE,
    asked TEXT NOT NULL,           -- a digest of what the client asked for
    extensions TEXT[] NOT NULL,    -- those that were on
    rooms BYTEA NOT NULL,          -- what the answer changed in those of the connection
    PRIMARY KEY (connection_nid, position_nid)
);
