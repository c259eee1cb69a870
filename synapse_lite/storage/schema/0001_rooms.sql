-- Rooms, events and state. Integers inside, text ids at the edge.

CREATE TABLE stream_position (
    single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
    position BIGINT NOT NULL
);
INSERT INTO stream_position (position) VALUES (0);

-- The order of everything visible in /sync; kind as in storage/stream.py. What happens live has a position
-- of its own and `minor` 0. History that is fetched later takes the position of the event whose gap it
-- fills, and -1, -2, ... backwards in time: it is in its place in the room, and news to nobody.
CREATE TABLE stream (
    position BIGINT NOT NULL,
    minor INTEGER NOT NULL DEFAULT 0,
    kind SMALLINT NOT NULL,
    room_nid BIGINT,
    event_nid BIGINT,
    user_id TEXT,
    redacts_nid BIGINT,
    device_id TEXT,
    key TEXT,                      -- what of it changed
    content TEXT,                  -- and what it is now: JSON, where it is small
    PRIMARY KEY (position, minor)
);
CREATE INDEX stream_room ON stream (room_nid, kind, position, minor) WHERE room_nid IS NOT NULL;
CREATE UNIQUE INDEX stream_event ON stream (event_nid) WHERE event_nid IS NOT NULL;
CREATE INDEX stream_user ON stream (user_id, kind, position) WHERE user_id IS NOT NULL;
CREATE INDEX stream_device_lists ON stream (position) WHERE kind IN (8, 16);
CREATE INDEX stream_passing ON stream (position) WHERE event_nid IS NULL;

-- How far the stream had come, once a day: tells the age of its rows.
CREATE TABLE stream_marks (
    at BIGINT PRIMARY KEY,
    position BIGINT NOT NULL
);

-- A room and its head: what the next event is built on.
CREATE TABLE rooms (
    room_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id TEXT NOT NULL UNIQUE,
    version TEXT NOT NULL,
    creator TEXT,                  -- NULL: unknown
    created_ts BIGINT NOT NULL,
    is_public BOOLEAN NOT NULL DEFAULT FALSE,
    purging BOOLEAN NOT NULL DEFAULT FALSE,  -- nothing is written into it any more: its rows are being deleted
    extremities BIGINT[] NOT NULL DEFAULT '{}',
    depth BIGINT NOT NULL DEFAULT 0,
    snapshot_nid BIGINT NOT NULL DEFAULT 0,
    last_event_nid BIGINT          -- the newest event that pages show
) WITH (fillfactor = 70);
CREATE INDEX rooms_public ON rooms (room_nid) WHERE is_public;

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
    standing SMALLINT NOT NULL DEFAULT 0,  -- 0 accepted, 1 outlier, 2 soft-failed, 3 rejected
    rejected_reason TEXT,
    replaces_nid BIGINT,           -- the state event that this one took the place of
    before_nid BIGINT,             -- snapshot of the state before the event; 0 = no state, NULL = unknown
    after_nid BIGINT,              -- and after it; the same for what is not state
    point_nid BIGINT,              -- of a redaction that hangs on the past: the snapshot there
    auth_nids BIGINT[] NOT NULL DEFAULT '{}',
    json TEXT NOT NULL             -- federation format, as signed
);
CREATE INDEX events_sender ON events (sender, room_nid, event_nid);
CREATE INDEX events_room ON events (room_nid, depth, event_nid);
CREATE INDEX events_time ON events (room_nid, origin_server_ts, event_nid);

-- Where the known history of a room has a hole: `event_nid` names `missing_event_id` among its prev_events.
-- What fills the gap is put at `position` of that event, below what stands there.
CREATE TABLE room_gaps (
    room_nid BIGINT NOT NULL,
    missing_event_id TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    position BIGINT NOT NULL,
    PRIMARY KEY (room_nid, missing_event_id, event_nid)
);
CREATE INDEX room_gaps_event ON room_gaps (event_nid);

-- Redactions, by what they redact. `applied`: allowed, so the target's content is gone for readers.
-- A ban or a kick may redact all that its target has sent.
CREATE TABLE redactions (
    event_nid BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    redacts TEXT NOT NULL,
    target_nid BIGINT,
    applied BOOLEAN NOT NULL,
    erased BOOLEAN NOT NULL DEFAULT FALSE,  -- the content of the target is gone from the disk too
    PRIMARY KEY (event_nid, redacts)
);
CREATE INDEX redactions_target ON redactions (target_nid) WHERE applied;
CREATE INDEX redactions_redacts ON redactions (redacts);
CREATE INDEX redactions_room ON redactions (room_nid, event_nid, redacts);
CREATE INDEX redactions_kept ON redactions (target_nid) WHERE applied AND NOT erased;

-- State is a chain of differences: a snapshot is `base_nid` overlaid with its own entries.
-- `ordinal` counts the snapshots of the chain; the base of ordinal n is n with its lowest bit
-- cleared, so that a chain of n snapshots is read in at most log2(n) + 2 steps. The first one of a room
-- has an ordinal that all later ones share as their highest bit: what it holds is never copied.
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
    size INTEGER NOT NULL,         -- of the arrays
    key_nids BIGINT[] NOT NULL,
    event_nids BIGINT[] NOT NULL
);
CREATE INDEX state_snapshots_room ON state_snapshots (room_nid, snapshot_nid);

CREATE TABLE current_state (
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    PRIMARY KEY (room_nid, type, state_key)
);

-- How the current state changed, at which position of the stream: by an event, or because branches of the
-- room met. `event_nid` NULL: the key is set no longer; `previous_nid` NULL: it was not set before.
CREATE TABLE state_deltas (
    position BIGINT NOT NULL,
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    state_key TEXT NOT NULL,
    event_nid BIGINT,
    previous_nid BIGINT,
    PRIMARY KEY (room_nid, position, type, state_key)
);
CREATE INDEX state_deltas_member ON state_deltas (state_key, position) WHERE type = 'm.room.member';

-- What lists of rooms show, as the current state says it, without what is redacted.
CREATE TABLE room_summary (
    room_nid BIGINT PRIMARY KEY,
    name TEXT,
    topic TEXT,
    avatar_url TEXT,
    canonical_alias TEXT,
    join_rule TEXT,
    history_visibility TEXT,
    guest_access TEXT,
    encryption TEXT,
    room_type TEXT,
    federates BOOLEAN NOT NULL DEFAULT TRUE,
    joined INTEGER NOT NULL DEFAULT 0,
    joined_local INTEGER NOT NULL DEFAULT 0,
    invited INTEGER NOT NULL DEFAULT 0,
    state_events INTEGER NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

CREATE TABLE memberships (
    user_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    membership TEXT NOT NULL,
    sender TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    forgotten BOOLEAN NOT NULL DEFAULT FALSE,
    server_name TEXT NOT NULL GENERATED ALWAYS AS (substr(user_id, strpos(user_id, ':') + 1)) STORED,
    PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX memberships_user ON memberships (user_id, membership);
CREATE INDEX memberships_invites ON memberships (sender, room_nid, user_id) WHERE membership = 'invite';
CREATE INDEX memberships_server ON memberships (room_nid, server_name) WHERE membership = 'join';

-- Rooms of other servers to which a user is invited, or at whose door they knock: what they may see of them, and
-- the server that told it.
CREATE TABLE stripped_state (
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_id TEXT NOT NULL,
    server_name TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (room_nid, user_id)
);

CREATE TABLE room_aliases (
    alias TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    creator TEXT NOT NULL
);
CREATE INDEX room_aliases_room ON room_aliases (room_nid);
CREATE INDEX room_aliases_creator ON room_aliases (creator);

-- One row per request that sends: a retry by the client finds the event that it already sent. `endpoint` is
-- part of what makes a transaction id unique. `event_id` is set when the event itself is purged.
CREATE TABLE event_transactions (
    session TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    endpoint TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    event_nid BIGINT NOT NULL,
    event_id TEXT,
    created_ts BIGINT NOT NULL,
    PRIMARY KEY (session, room_nid, endpoint, txn_id)
);
CREATE INDEX event_transactions_event ON event_transactions (event_nid);
CREATE INDEX event_transactions_created ON event_transactions (created_ts);
