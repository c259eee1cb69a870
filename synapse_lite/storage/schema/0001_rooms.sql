-- Rooms, events and state. Integers inside, text ids at the edge.

CREATE TABLE stream_position (
    single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
    position BIGINT NOT NULL
);
INSERT INTO stream_position (position) VALUES (0);

-- The order of everything visible in /sync; kind as in storage/stream.py.
CREATE TABLE stream (
    position BIGINT PRIMARY KEY,
    kind SMALLINT NOT NULL,
    room_nid BIGINT,
    event_nid BIGINT,
    user_id TEXT,
    redacts_nid BIGINT
);
CREATE INDEX stream_room ON stream (room_nid, kind, position) WHERE room_nid IS NOT NULL;
CREATE UNIQUE INDEX stream_event ON stream (event_nid) WHERE event_nid IS NOT NULL;
CREATE INDEX stream_user ON stream (user_id, kind, position) WHERE user_id IS NOT NULL;

-- A room and its head: what the next event is built on. `head` counts the writes to the room.
CREATE TABLE rooms (
    room_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    creator TEXT NOT NULL,
    created_ts BIGINT NOT NULL,
    is_public BOOLEAN NOT NULL DEFAULT FALSE,
    extremities BIGINT[] NOT NULL DEFAULT '{}',
    depth BIGINT NOT NULL DEFAULT 0,
    snapshot_nid BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- Given out to processes in blocks of a thousand.
CREATE SEQUENCE event_nids INCREMENT BY 1000;
CREATE SEQUENCE snapshot_nids INCREMENT BY 1000;

-- No foreign key on what every send writes: the lock of the room's row guards it.
CREATE TABLE events (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    state_key TEXT,
    membership TEXT,
    sender TEXT NOT NULL,
    depth BIGINT NOT NULL,
    origin_server_ts BIGINT NOT NULL,
    received_ts BIGINT NOT NULL,
    replaces_nid BIGINT,           -- the state event that this one took the place of
    before_nid BIGINT NOT NULL,    -- snapshot of the state before the event; 0 = none
    after_nid BIGINT NOT NULL,     -- and after it; the same for what is not state
    json TEXT NOT NULL             -- federation format, as signed
);
CREATE INDEX events_sender ON events (sender, room_nid, event_nid);

-- Redactions, by what they redact. `applied`: allowed, so the target's content is gone for readers.
CREATE TABLE redactions (
    event_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    redacts TEXT NOT NULL,
    target_nid BIGINT,
    applied BOOLEAN NOT NULL
);
CREATE INDEX redactions_target ON redactions (target_nid) WHERE applied;
CREATE INDEX redactions_redacts ON redactions (redacts);

-- State is a chain of differences: a snapshot is `base_nid` overlaid with its own entries.
-- `ordinal` counts the snapshots of the chain; the base of ordinal n is n with its lowest bit
-- cleared, so that a chain of n snapshots is read in at most log2(n) + 1 steps.
CREATE TABLE state_keys (
    state_key_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    UNIQUE (type, state_key)
);
CREATE TABLE state_snapshots (
    snapshot_nid BIGINT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    base_nid BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    key_nids BIGINT[] NOT NULL,
    event_nids BIGINT[] NOT NULL
);

CREATE TABLE current_state (
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, type, state_key)
);

CREATE TABLE memberships (
    user_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    membership TEXT NOT NULL,
    sender TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    forgotten BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, membership);

CREATE TABLE room_aliases (
    alias TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    creator TEXT NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_nid);

-- One row per send: a retry by the client finds the event that it already sent.
CREATE TABLE event_transactions (
    session TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    txn_id TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    created_ts BIGINT NOT NULL,
    PRIMARY KEY (session, room_nid, txn_id)
);
CREATE INDEX event_transactions_event ON event_transactions (event_nid);
CREATE INDEX event_transactions_created ON event_transactions (created_ts);

CREATE TABLE receipts (
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_id TEXT NOT NULL,
    receipt_type TEXT NOT NULL,
    thread_id TEXT NOT NULL DEFAULT '',
    event_id TEXT NOT NULL,
    ts BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id, receipt_type, thread_id)
);

-- Who types, until when; worth nothing after a crash.
CREATE UNLOGGED TABLE typing (
    room_nid BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    expires_ts BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id)
);
