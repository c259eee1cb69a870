-- Knocks that were sent to another server and have no answer yet: what ends them may come before it.
CREATE TABLE sent_knocks (
    event_id TEXT PRIMARY KEY,
    room_nid BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    sent_ts BIGINT NOT NULL
);
CREATE INDEX sent_knocks_room ON sent_knocks (room_nid);
CREATE INDEX sent_knocks_sent ON sent_knocks (sent_ts);
