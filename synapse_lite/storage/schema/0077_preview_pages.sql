-- A URL may be longer than what an index holds.
ALTER TABLE url_previews ADD COLUMN url_sha256 BYTEA;
UPDATE url_previews SET url_sha256 = sha256(convert_to(url, 'UTF8'));
ALTER TABLE url_previews DROP CONSTRAINT url_previews_pkey, DROP COLUMN url, ADD PRIMARY KEY (url_sha256, language);
