-- Public keys of devices and users. JSON is stored as it was signed, without `unsigned`.

CREATE TABLE device_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    json TEXT NOT NULL,
    PRIMARY KEY (user_id, device_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- Given out oldest first, once. `ends_upload`: the newest key of an upload. Only behind such a one there may be none left
-- of the device, as whoever deletes keys begins with the oldest.
CREATE TABLE one_time_keys (
    key_nid BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    key TEXT NOT NULL,             -- the public key, which is part of the JSON
    json TEXT NOT NULL,
    ends_upload BOOLEAN NOT NULL,
    UNIQUE (user_id, device_id, algorithm, key_id),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);
CREATE INDEX one_time_keys_next ON one_time_keys (user_id, device_id, algorithm, key_nid);

-- What a device has uploaded of late, one row an upload: a client that did not hear that it succeeded uploads the same keys
-- again, of which some were given out meanwhile. To remember the uploads costs a claim of hundreds of keys nothing.
CREATE TABLE key_uploads (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    upload_nid BIGINT GENERATED ALWAYS AS IDENTITY,
    names TEXT[] NOT NULL,         -- algorithm, id and public key, with colons between
    PRIMARY KEY (user_id, device_id, upload_nid),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

CREATE TABLE fallback_keys (
    user_id TEXT NOT NULL,
    device_id TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    key_id TEXT NOT NULL,
    json TEXT NOT NULL,
    used BOOLEAN NOT NULL DEFAULT FALSE,
    PRIMARY KEY (user_id, device_id, algorithm),
    FOREIGN KEY (user_id, device_id) REFERENCES devices ON DELETE CASCADE
);

-- `usage`: master, self_signing, user_signing. `replaceable_until_ts`: so long the user may put another key in
-- its place without proving who they are, because an administrator has allowed it.
CREATE TABLE cross_signing_keys (
    user_id TEXT NOT NULL REFERENCES users,
    usage TEXT NOT NULL,
    public_key TEXT NOT NULL,
    json TEXT NOT NULL,
    replaceable_until_ts BIGINT,
    PRIMARY KEY (user_id, usage)
);

-- Signatures that were added to the keys of a device (target_id: its id) or of a user (target_id: the public
-- key). Those of a device on its own keys are part of the keys.
CREATE TABLE key_signatures (
    target_user_id TEXT NOT NULL,
    target_id TEXT NOT NULL,
    signer_user_id TEXT NOT NULL,
    key_id TEXT NOT NULL,          -- algorithm and name of the signing key
    signature TEXT NOT NULL,
    position BIGINT,               -- of the stream, when somebody else's keys were signed
    PRIMARY KEY (target_user_id, target_id, signer_user_id, key_id)
);
CREATE INDEX key_signatures_signer ON key_signatures (signer_user_id, key_id);
