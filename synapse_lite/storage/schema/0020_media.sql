-- Media. Bytes are kept by their SHA-256, once; what refers to them are rows. Times are milliseconds since 1970.

-- A row comes before its bytes and goes after them. `check_ts`: from then on a cleanup looks whether anything
-- refers to it (null: something does). Until then somebody is about to store it.
CREATE TABLE media_blobs (
    sha256 BYTEA PRIMARY KEY,
    size BIGINT NOT NULL,
    stored BOOLEAN NOT NULL DEFAULT FALSE,  -- the store has confirmed that it has the bytes
    check_ts BIGINT,
    image_error TEXT                        -- why there are no thumbnails of it
);
CREATE INDEX media_blobs_check ON media_blobs (check_ts) WHERE check_ts IS NOT NULL;

-- mxc://<origin>/<media_id>: our own, and copies of what other servers have. Without `sha256` it is reserved.
CREATE TABLE media (
    media_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    sha256 BYTEA REFERENCES media_blobs,
    size BIGINT,
    user_id TEXT,                           -- who uploaded it; null for other servers' and for previews
    media_type TEXT,
    upload_name TEXT,
    created_ts BIGINT NOT NULL,
    last_access_ts BIGINT,
    expires_ts BIGINT,                      -- of a reservation
    authenticated BOOLEAN NOT NULL,         -- the old endpoints do not serve it
    protected BOOLEAN NOT NULL DEFAULT FALSE,
    url_cache TEXT,                         -- the page of whose preview it is a part
    UNIQUE (origin, media_id)
);
CREATE INDEX media_sha256 ON media (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX media_user ON media (user_id, created_ts, media_nid) INCLUDE (size) WHERE user_id IS NOT NULL;
CREATE INDEX media_reserved ON media (user_id, expires_ts) WHERE sha256 IS NULL;

-- A process that fetches a file of another server; the others wait, until `until_ts` at most.
CREATE TABLE media_fetches (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    claimant TEXT NOT NULL,
    until_ts BIGINT NOT NULL,
    PRIMARY KEY (origin, media_id)
);

CREATE TABLE media_thumbnails (
    source BYTEA NOT NULL REFERENCES media_blobs ON DELETE CASCADE,
    width INT NOT NULL,                     -- of the box, not of the picture
    height INT NOT NULL,
    method TEXT NOT NULL,
    animated BOOLEAN NOT NULL,
    media_type TEXT NOT NULL,
    sha256 BYTEA NOT NULL REFERENCES media_blobs,
    size BIGINT NOT NULL,
    PRIMARY KEY (source, width, height, method, animated)
);
CREATE INDEX media_thumbnails_sha256 ON media_thumbnails (sha256);

-- What is not shown. Both outlive the file, so that it stays hidden when it is fetched or uploaded again.
CREATE TABLE media_quarantine (
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    quarantined_by TEXT NOT NULL,
    created_ts BIGINT NOT NULL,
    PRIMARY KEY (origin, media_id)
);
CREATE TABLE media_quarantined_hashes (
    sha256 BYTEA PRIMARY KEY,
    quarantined_by TEXT NOT NULL,
    created_ts BIGINT NOT NULL
);

-- Every change of `media_quarantine`. Positions become visible in order: they are given out under a row lock.
CREATE TABLE media_quarantine_changes (
    position BIGINT PRIMARY KEY,
    origin TEXT NOT NULL,
    media_id TEXT NOT NULL,
    quarantined BOOLEAN NOT NULL,
    actor TEXT NOT NULL,
    cause TEXT NOT NULL,
    created_ts BIGINT NOT NULL
);
CREATE TABLE media_quarantine_position (
    single BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (single),
    position BIGINT NOT NULL
);
INSERT INTO media_quarantine_position (position) VALUES (0);

CREATE TABLE url_previews (
    url TEXT NOT NULL,
    language TEXT NOT NULL,
    json TEXT NOT NULL,
    media_nid BIGINT REFERENCES media ON DELETE SET NULL,
    created_ts BIGINT NOT NULL,
    expires_ts BIGINT NOT NULL,
    PRIMARY KEY (url, language)
);
CREATE INDEX url_previews_expires ON url_previews (expires_ts);
CREATE INDEX url_previews_media ON url_previews (media_nid) WHERE media_nid IS NOT NULL;

-- Unencrypted events that may name media, by room and by sender.
CREATE INDEX events_room_media ON events (room_nid, event_nid) WHERE strpos(json, 'mxc://') > 0;
CREATE INDEX events_sender_media ON events (sender, event_nid) WHERE strpos(json, 'mxc://') > 0;
