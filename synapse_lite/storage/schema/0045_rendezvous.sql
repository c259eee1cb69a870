-- Where two devices meet that do not know each other yet: what the one leaves, the other reads.
CREATE TABLE rendezvous_sessions (
    session_id TEXT PRIMARY KEY,
    content BYTEA NOT NULL,
    etag TEXT NOT NULL,
    modified_ts BIGINT NOT NULL,
    valid_until_ts BIGINT NOT NULL
);
CREATE INDEX rendezvous_sessions_expiring ON rendezvous_sessions (valid_until_ts);
