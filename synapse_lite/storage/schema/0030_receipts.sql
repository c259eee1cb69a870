-- Who has read how far, and who is typing.

CREATE TABLE receipts (
    room_nid BIGINT NOT NULL REFERENCES rooms,
    user_id TEXT NOT NULL,
    receipt_type TEXT NOT NULL,
    thread_id TEXT NOT NULL DEFAULT '',
    event_id TEXT NOT NULL,
    ts BIGINT NOT NULL,
    position BIGINT,               -- of the event; NULL: it was not known. It stays when the event is purged
    PRIMARY KEY (room_nid, user_id, receipt_type, thread_id)
);

-- Who types, until when; worth nothing after a crash.
CREATE UNLOGGED TABLE typing (
    room_nid BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    expires_ts BIGINT NOT NULL,
    PRIMARY KEY (room_nid, user_id)
);
