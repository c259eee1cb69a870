-- The numbers of filters are those of one user: whoever comes from another server keeps theirs.
ALTER TABLE filters DROP CONSTRAINT filters_pkey, ADD PRIMARY KEY (user_id, filter_nid);

-- Parts of an import from another server that are done. None is done twice: what was ended or used up since would be
-- there again.
CREATE TABLE imported_parts (
    name TEXT PRIMARY KEY,
    done_ts BIGINT NOT NULL
);
