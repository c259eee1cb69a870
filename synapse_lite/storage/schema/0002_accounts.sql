-- Accounts, and what they keep on the server. Times are milliseconds since 1970.

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
    consent_version TEXT,          -- the version of the terms that the user has agreed to
    consent_ts BIGINT,
    consent_notice_version TEXT,   -- the version to which they were asked to agree
    expires_ts BIGINT,             -- null: the account does not expire
    registration_token TEXT,       -- with which the account was made
    displayname TEXT,
    avatar_url TEXT,
    profile_fields TEXT NOT NULL DEFAULT '{}'  -- the other fields of the profile, a JSON object
);
-- When the user last used any of their devices; null: never.
CREATE TABLE user_last_seen (
    user_id TEXT PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    last_seen_ts BIGINT
);

CREATE INDEX users_folded ON users (lower(user_id));
CREATE INDEX users_registration_token ON users (registration_token, user_id) WHERE registration_token IS NOT NULL;

-- The localparts of guests and of users who did not choose a name.
CREATE SEQUENCE numbered_users;

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

-- User-interactive authentication: what has been proved so far, for one operation. Holds no passwords.
CREATE TABLE uia_sessions (
    session_id TEXT PRIMARY KEY,
    operation TEXT NOT NULL,
    completed TEXT[] NOT NULL DEFAULT '{}',
    created_ts BIGINT NOT NULL,
    registration_token TEXT        -- with which the stage of that name was done
);
CREATE INDEX uia_sessions_created ON uia_sessions (created_ts);
CREATE INDEX uia_sessions_token ON uia_sessions (registration_token) WHERE registration_token IS NOT NULL;

-- Nonces with which somebody was registered by the shared secret, until they are too old to be used again.
CREATE TABLE registration_nonces (
    nonce TEXT PRIMARY KEY,
    used_ts BIGINT NOT NULL
);
CREATE INDEX registration_nonces_used ON registration_nonces (used_ts);
