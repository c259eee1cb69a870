-- What administrators set for users, and by what else than their ids users are known. Times are milliseconds since 1970.

CREATE TABLE user_threepids (
    medium TEXT NOT NULL,
    address TEXT NOT NULL,         -- e-mail addresses in lower case
    user_id TEXT NOT NULL REFERENCES users,
    validated_ts BIGINT NOT NULL,
    added_ts BIGINT NOT NULL,
    PRIMARY KEY (medium, address)
);
CREATE INDEX user_threepids_user ON user_threepids (user_id);

CREATE TABLE user_external_ids (
    auth_provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users,
    PRIMARY KEY (auth_provider, external_id)
);
CREATE INDEX user_external_ids_user ON user_external_ids (user_id);

-- Instead of `rc_message`. Zero messages a second: no limit at all.
CREATE TABLE rate_limit_overrides (
    user_id TEXT PRIMARY KEY REFERENCES users,
    messages_per_second INT NOT NULL,
    burst_count INT NOT NULL
);

-- Experimental features that are on or off for a user, whatever holds for everybody else.
CREATE TABLE experimental_features (
    user_id TEXT NOT NULL REFERENCES users,
    feature TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    PRIMARY KEY (user_id, feature)
);

-- Who has one may register. Null: as often as they like, for ever.
CREATE TABLE registration_tokens (
    token TEXT PRIMARY KEY,
    uses_allowed INT,
    completed INT NOT NULL DEFAULT 0,
    expiry_ts BIGINT
);

-- Orders of the list of users.
CREATE INDEX users_created ON users (created_ts, user_id);
CREATE INDEX users_displayname ON users ((displayname IS NULL), coalesce(displayname, ''), user_id);
CREATE INDEX users_avatar ON users ((avatar_url IS NULL), coalesce(avatar_url, ''), user_id);
CREATE INDEX users_type ON users ((user_type IS NULL), coalesce(user_type, ''), user_id);
CREATE INDEX users_guest ON users (is_guest, user_id);
CREATE INDEX users_admin ON users (is_admin, user_id);
CREATE INDEX users_deactivated ON users (deactivated, user_id);
CREATE INDEX users_shadow_banned ON users (shadow_banned, user_id);
CREATE INDEX users_locked ON users (locked, user_id);
CREATE INDEX user_last_seen_ts ON user_last_seen ((last_seen_ts IS NULL), coalesce(last_seen_ts, 0), user_id);
CREATE INDEX users_parts ON users USING gin (trigrams(user_id || E'\n' || coalesce(displayname, '')));
CREATE INDEX users_short_parts
    ON users USING gin (short_parts(split_part(substr(user_id, 2), ':', 1) || E'\n' || coalesce(displayname, '')));

-- Orders of the list of rooms: of what seldom changes, so that a join touches no index.
CREATE INDEX room_summary_name ON room_summary ((name IS NULL), coalesce(name, ''), room_nid);
CREATE INDEX room_summary_alias ON room_summary ((canonical_alias IS NULL), coalesce(canonical_alias, ''), room_nid);
CREATE INDEX room_summary_encryption ON room_summary ((encryption IS NULL), coalesce(encryption, ''), room_nid);
CREATE INDEX room_summary_join_rule ON room_summary ((join_rule IS NULL), coalesce(join_rule, ''), room_nid);
CREATE INDEX room_summary_guests ON room_summary ((guest_access IS NULL), coalesce(guest_access, ''), room_nid);
CREATE INDEX room_summary_history
    ON room_summary ((history_visibility IS NULL), coalesce(history_visibility, ''), room_nid);
CREATE INDEX room_summary_federates ON room_summary (federates, room_nid);
CREATE INDEX rooms_creator ON rooms ((creator IS NULL), coalesce(creator, ''), room_nid);
CREATE INDEX rooms_version
    ON rooms ((coalesce(CASE WHEN version ~ '^[0-9]+$' THEN version::int END, 0)), room_nid);
CREATE INDEX rooms_is_public ON rooms (is_public, room_nid);
CREATE INDEX room_summary_parts
    ON room_summary USING gin (trigrams(coalesce(name, '') || E'\n' || coalesce(canonical_alias, '')));

-- What a user has invited and joined, by time.
CREATE INDEX events_invites ON events (sender, received_ts) WHERE membership = 'invite';
CREATE INDEX events_joins ON events (state_key, received_ts) WHERE membership = 'join';

-- Where a user gets the notices of the server.
CREATE TABLE server_notice_rooms (
    user_id TEXT PRIMARY KEY REFERENCES users,
    room_nid BIGINT NOT NULL
);
CREATE INDEX server_notice_rooms_room ON server_notice_rooms (room_nid, user_id);
