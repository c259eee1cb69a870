-- Users who count as active of late, where the number of those is limited, or asked for. `seen_ts` is exact to the hour.
CREATE TABLE active_users (
    user_id TEXT PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    seen_ts BIGINT NOT NULL
);
CREATE INDEX active_users_seen ON active_users (seen_ts);
