-- Public keys of other servers' users, as far as a room is shared with them: else nobody tells when they change.
-- `generation` counts the changes that were heard of; `json` NULL: their server is to be asked.
CREATE TABLE remote_keys (
    user_id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL DEFAULT 0,
    json TEXT
);
