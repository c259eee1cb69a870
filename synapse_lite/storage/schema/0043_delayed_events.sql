-- Events that are sent later (MSC4140). Times are milliseconds since 1970.
CREATE TABLE delayed_events (
    delay_id TEXT PRIMARY KEY,             -- a secret: who knows it may send the event, or call it off
    user_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL REFERENCES rooms,
    type TEXT NOT NULL,
    state_key TEXT,
    redacts TEXT,
    content TEXT NOT NULL,                 -- JSON
    session TEXT NOT NULL,                 -- of the request that asked for it
    txn_id TEXT,
    delay_ms BIGINT NOT NULL,
    running_since BIGINT NOT NULL,
    due_ts BIGINT,                         -- NULL: it is over
    attempts INT NOT NULL DEFAULT 0,
    outcome TEXT CHECK (outcome IN ('sent', 'cancelled', 'failed')),
    error TEXT,
    finished_ts BIGINT,
    CHECK ((due_ts IS NULL) = (outcome IS NOT NULL))
);
CREATE INDEX delayed_events_due ON delayed_events (due_ts) WHERE due_ts IS NOT NULL;
CREATE INDEX delayed_events_user ON delayed_events (user_id, due_ts);
CREATE INDEX delayed_events_room ON delayed_events (room_nid, delay_id);
CREATE UNIQUE INDEX delayed_events_request ON delayed_events (session, room_nid, type, txn_id) WHERE txn_id IS NOT NULL;
