-- Accounts, their sessions, and what they keep on the server. Times are milliseconds since 1970.

CREATE TABLE users (
    user_id TEXT PRIMARY KEY,
    password_hash TEXT,            -- argon2id, or bcrypt when imported; null = no login by password
    is_admin BOOLEAN NOT NULL DEFAULT FALSE,
    is_guest BOOLEAN NOT NULL DEFAULT FALSE,
    deactivated BOOLEAN NOT NULL DEFAULT FALSE,
    locked BOOLEAN NOT NULL DEFAULT FALSE,
    suspended BOOLEAN NOT NULL DEFAULT FALSE,
    shadow_banned BOOLEAN NOT NULL DEFAULT FALSE,
    erased BOOLEAN NOT NULL DEFAULT FALSE,
    user_type TEXT,
    appservice_id TEXT,
    created_ts BIGINT NOT NULL,
    displayname TEXT,
    avatar_url TEXT,
    profile_fields TEXT NOT NULL DEFAULT '{}'  -- the other fields of the profile, a JSON object
);
CREATE INDEX users_folded ON users (lower(user_id));

-- The localparts of guests and of users who did not choose a name.
CREATE SEQUENCE numbered_users;

CREATE TABLE devices (
    user_id TEXT NOT NULL REFERENCES users,
    device_id TEXT NOT NULL,
    display_name TEXT,
    last_seen_ts BIGINT,
    last_seen_ip TEXT,
    last_seen_user_agent TEXT,
    PRIMARY KEY (user_id, device_id)
);

-- Tokens are known by their SHA-256 only.
CREATE TABLE access_tokens (
    token_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users,
    device_id TEXT,
    created_ts BIGINT NOT NULL,
    valid_until_ts BIGINT,
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX access_tokens_device ON access_tokens (user_id, device_id);
CREATE INDEX access_tokens_expiring ON access_tokens (valid_until_ts) WHERE valid_until_ts IS NOT NULL;

-- Global account data has room_nid 0.
CREATE TABLE account_data (
    user_id TEXT NOT NULL,
    room_nid BIGINT NOT NULL,
    type TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (user_id, room_nid, type)
);
CREATE INDEX account_data_room ON account_data (room_nid) WHERE room_nid <> 0;

CREATE TABLE filters (
    filter_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT NOT NULL,
    digest BYTEA NOT NULL,         -- SHA-256 of the JSON
    json TEXT NOT NULL,
    UNIQUE (user_id, digest)
);

-- User-interactive authentication: what has been proved so far, for one operation. Holds no secrets.
CREATE TABLE uia_sessions (
    session_id TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    completed TEXT[] NOT NULL DEFAULT '{}',
    created_ts BIGINT NOT NULL
);
CREATE INDEX uia_sessions_created ON uia_sessions (created_ts);

-- Nonces of the registration by shared secret.
CREATE TABLE registration_nonces (
    nonce TEXT PRIMARY KEY,
    created_ts BIGINT NOT NULL
);
CREATE INDEX registration_nonces_created ON registration_nonces (created_ts);
