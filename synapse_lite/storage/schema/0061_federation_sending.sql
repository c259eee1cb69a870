-- What is to be sent to other servers, and how that goes. Times are milliseconds since 1970 unless typed otherwise.

CREATE SEQUENCE federation_transactions;

-- Whoever adds something for a server updates its row first, so that what is added for one server becomes visible
-- in the order of its numbers. Whoever sends owns the row until `leased_until`.
--
-- `txn_…` is the transaction that is on its way: the rows of the queues up to these numbers, and what it carries of a
-- room to catch up with. It is sent with the same id until there is an answer, whoever sends it.
CREATE TABLE destinations (
    server_name TEXT PRIMARY KEY,
    pending BOOLEAN NOT NULL DEFAULT FALSE,  -- there is something to send
    behind BOOLEAN NOT NULL DEFAULT FALSE,   -- events are not queued one by one: see `destination_rooms`
    failing_since BIGINT,
    attempted_ts BIGINT NOT NULL DEFAULT 0,
    retry_at BIGINT NOT NULL DEFAULT 0,
    retry_interval BIGINT NOT NULL DEFAULT 0,
    sent_position BIGINT,                    -- of the newest event that was sent
    at_most INTEGER,                         -- events and EDUs in a transaction, after one was too large or refused
    txn_id TEXT,
    txn_ts BIGINT,
    txn_position BIGINT NOT NULL DEFAULT 0,
    txn_edu BIGINT NOT NULL DEFAULT 0,
    owner TEXT,
    leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
CREATE INDEX destinations_pending ON destinations (retry_at) WHERE pending;

-- Events by the position at which they are in the stream.
CREATE TABLE outgoing_events (
    server_name TEXT NOT NULL,
    position BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (server_name, position)
);
CREATE INDEX outgoing_events_room ON outgoing_events (room_nid, server_name, position);

-- What is told beside events. A later one with the same key takes the place of an earlier one.
CREATE TABLE outgoing_edus (
    edu BIGINT GENERATED ALWAYS AS IDENTITY,
    server_name TEXT NOT NULL,
    key TEXT,
    room_nid BIGINT,
    json TEXT NOT NULL,
    PRIMARY KEY (server_name, edu),
    UNIQUE (server_name, key)
);
CREATE INDEX outgoing_edus_room ON outgoing_edus (room_nid, server_name, edu) WHERE room_nid IS NOT NULL;

-- What servers have of rooms. `missed_…` is the newest event that was for them while they were behind; `catching_…`
-- is what the transaction on its way carries of the room, and up to where they then have caught up.
CREATE TABLE destination_rooms (
    server_name TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    sent_position BIGINT,
    missed_position BIGINT,
    missed_nid BIGINT,
    catching_position BIGINT,
    catching_nids BIGINT[],
    PRIMARY KEY (room_nid, server_name)
);
CREATE INDEX destination_rooms_server ON destination_rooms (server_name, room_nid);
CREATE INDEX destination_rooms_missed ON destination_rooms (server_name, missed_position)
    WHERE missed_position IS NOT NULL;
CREATE INDEX destination_rooms_catching ON destination_rooms (server_name) WHERE catching_nids IS NOT NULL;
