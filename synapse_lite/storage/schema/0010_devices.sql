-- Devices, and the tokens by which they are known. Times are milliseconds since 1970.

-- `dehydrated`: the device data of a device without tokens that waits for its owner's next log-in (MSC3814).
-- `inbox_after`: messages up to this position of the stream were meant for an earlier device of that id.
CREATE TABLE devices (
    user_id TEXT NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    display_name TEXT,
    created_ts BIGINT NOT NULL,
    last_seen_ts BIGINT,
    last_seen_ip TEXT,
    last_seen_user_agent TEXT,
    dehydrated TEXT,
    inbox_after BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, device_id)
);
CREATE UNIQUE INDEX devices_dehydrated ON devices (user_id) WHERE dehydrated IS NOT NULL;
CREATE INDEX devices_seen ON devices (coalesce(last_seen_ts, created_ts)) WHERE dehydrated IS NULL;

-- Tokens are known by their SHA-256 only.
-- A refresh token and the access token that was issued with it live until a token of their successors is
-- used: `replaces_nid` names whom the first use of this one ends. `salt`: what its successors are made with,
-- so that a client that asks twice gets the same ones.
CREATE TABLE refresh_tokens (
    refresh_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    valid_until_ts BIGINT,
    session_until_ts BIGINT,       -- the end of what can be refreshed at all
    replaces_nid BIGINT REFERENCES refresh_tokens ON DELETE SET NULL,
    salt BYTEA,
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX refresh_tokens_device ON refresh_tokens (user_id, device_id);
CREATE INDEX refresh_tokens_replaces ON refresh_tokens (replaces_nid) WHERE replaces_nid IS NOT NULL;

CREATE TABLE access_tokens (
    token_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users,
    device_id TEXT,
    created_ts BIGINT NOT NULL,
    valid_until_ts BIGINT,
    refresh_nid BIGINT REFERENCES refresh_tokens ON DELETE SET NULL,
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_refresh ON access_tokens (refresh_nid) WHERE refresh_nid IS NOT NULL;
-- Those of devices stay when their time is over: they tell the client that it may log in again as the same device.
CREATE INDEX access_tokens_expiring ON access_tokens (valid_until_ts)
    WHERE valid_until_ts IS NOT NULL AND device_id IS NULL;

-- Short-lived tokens that log in once (`m.login.token`).
CREATE TABLE login_tokens (
    token_hash BYTEA PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users,
    valid_until_ts BIGINT NOT NULL
);
CREATE INDEX login_tokens_expiring ON login_tokens (valid_until_ts);
