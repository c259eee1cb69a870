-- Other servers: their keys, and what they sent.

-- Several keys may have one id: servers have reused ids. Of a key in use `valid_until_ts` is the end of its
-- validity as far as it was told, of one in `old_verify_keys` `expired_ts` is the time when it was last used.
CREATE TABLE server_keys (
    server_name TEXT NOT NULL,
    key_id TEXT NOT NULL,
    public_key TEXT NOT NULL,
    valid_until_ts BIGINT NOT NULL,
    expired_ts BIGINT,
    PRIMARY KEY (server_name, key_id, public_key)
);

-- The answer of each server about its own keys that is valid longest, as signed: for servers that ask us.
CREATE TABLE server_key_answers (
    server_name TEXT PRIMARY KEY,
    valid_until_ts BIGINT NOT NULL,
    fetched_ts BIGINT NOT NULL,
    json TEXT NOT NULL
);

-- Transactions that are done, with their answers: a repetition gets the same one.
CREATE TABLE received_transactions (
    origin TEXT NOT NULL,
    txn_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    received_ts BIGINT NOT NULL,
    PRIMARY KEY (origin, txn_id)
);
CREATE INDEX received_transactions_received ON received_transactions (received_ts);

-- Events that were accepted from other servers, with good signatures, and are not in their rooms yet.
CREATE TABLE staged_events (
    staged_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    room_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    origin TEXT NOT NULL,
    json TEXT NOT NULL,
    received_ts BIGINT NOT NULL,
    UNIQUE (room_id, event_id)
);
CREATE INDEX staged_events_room ON staged_events (room_id, staged_nid);

-- Who puts the staged events of a room into it: one process at a time, until its lease is over.
CREATE TABLE staged_rooms (
    room_id TEXT PRIMARY KEY,
    owner TEXT,
    leased_until TIMESTAMPTZ NOT NULL DEFAULT '-infinity'
);
CREATE INDEX staged_rooms_lease ON staged_rooms (leased_until);

-- Events that users of other servers sent through us: we tell the rest of the room of them, as of our own.
CREATE TABLE relayed_events (
    event_id TEXT PRIMARY KEY,
    received_ts BIGINT NOT NULL
);
CREATE INDEX relayed_events_received ON relayed_events (received_ts);
