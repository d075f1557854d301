-- The tables that a tenant's database has in a form of its own: fewer columns, fewer keys.

-- What has been migrated.
CREATE TABLE migrations (
    migration VARCHAR NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL
);

-- The sites, as far as retention needs them.
CREATE TABLE sites (
    id UUID NOT NULL,
    domain VARCHAR NOT NULL,
    data_retention_days INTEGER DEFAULT 365,
    PRIMARY KEY (id)
);

-- Traffic.
CREATE TABLE hits (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    session_id UUID NOT NULL,
    page_id UUID NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    path VARCHAR NOT NULL,
    hostname VARCHAR,
    referrer VARCHAR,
    user_agent VARCHAR,
    viewport_width INTEGER,
    viewport_height INTEGER,
    screen_width INTEGER,
    screen_height INTEGER,
    language VARCHAR,
    is_unique BOOLEAN,
    country_code VARCHAR,
    utm_source VARCHAR,
    utm_medium VARCHAR,
    utm_campaign VARCHAR,
    utm_term VARCHAR,
    utm_content VARCHAR,
    region VARCHAR,
    city VARCHAR,
    provider VARCHAR,
    asn INTEGER,
    asn_org VARCHAR,
    qr_code_id UUID,
    PRIMARY KEY (id)
);
CREATE TABLE events (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    session_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    properties JSON,
    timestamp TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE goals (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    type VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    CHECK (type IN ('event', 'path'))
);
CREATE TABLE funnels (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    steps JSON NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id)
);
