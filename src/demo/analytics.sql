-- The tables that are the same in the shared database and in a tenant's: what is measured, imported and summed up.
-- Needs `sites`.

-- Measurements, one row each.
CREATE TABLE web_vitals (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    session_id UUID NOT NULL,
    page_id UUID NOT NULL,
    metric VARCHAR NOT NULL,
    metric_id VARCHAR,
    value DOUBLE NOT NULL,
    rating VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    navigation_type VARCHAR,
    timestamp TIMESTAMPTZ NOT NULL,
    tracker_source VARCHAR,
    tracker_version VARCHAR,
    PRIMARY KEY (id),
    CHECK (metric IN ('LCP', 'INP', 'CLS', 'FCP', 'TTFB')),
    CHECK (rating IN ('good', 'needs_improvement', 'poor'))
);
CREATE TABLE ai_fetches (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    assistant_name VARCHAR NOT NULL,
    assistant_family VARCHAR NOT NULL,
    path VARCHAR NOT NULL,
    hostname VARCHAR,
    status_code INTEGER NOT NULL,
    content_type VARCHAR,
    resource_type VARCHAR NOT NULL,
    response_ms INTEGER,
    bytes_served BIGINT,
    user_agent VARCHAR,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id)
);
CREATE TABLE qr_code_opens (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    qr_code_id UUID NOT NULL,
    timestamp TIMESTAMPTZ NOT NULL,
    referrer VARCHAR,
    user_agent VARCHAR,
    country_code VARCHAR,
    region VARCHAR,
    city VARCHAR,
    provider VARCHAR,
    asn INTEGER,
    asn_org VARCHAR,
    PRIMARY KEY (id)
);

-- Page views and visitors, summed up.
CREATE TABLE hit_rollups_hourly (
    site_id UUID NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    pageviews BIGINT NOT NULL,
    visitors BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);
CREATE TABLE hit_rollups_daily (
    site_id UUID NOT NULL,
    bucket DATE NOT NULL,
    pageviews BIGINT NOT NULL,
    visitors BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);
CREATE TABLE hit_rollups_monthly (
    site_id UUID NOT NULL,
    bucket DATE NOT NULL,
    pageviews BIGINT NOT NULL,
    visitors BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);

-- Sessions, summed up.
CREATE TABLE session_rollups_hourly (
    site_id UUID NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    sessions BIGINT NOT NULL,
    bounced_sessions BIGINT NOT NULL,
    duration_sum_seconds DOUBLE NOT NULL,
    pageviews BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);
CREATE TABLE session_rollups_daily (
    site_id UUID NOT NULL,
    bucket DATE NOT NULL,
    sessions BIGINT NOT NULL,
    bounced_sessions BIGINT NOT NULL,
    duration_sum_seconds DOUBLE NOT NULL,
    pageviews BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);
CREATE TABLE session_rollups_monthly (
    site_id UUID NOT NULL,
    bucket DATE NOT NULL,
    sessions BIGINT NOT NULL,
    bounced_sessions BIGINT NOT NULL,
    duration_sum_seconds DOUBLE NOT NULL,
    pageviews BIGINT NOT NULL,
    PRIMARY KEY (site_id, bucket)
);

-- Goals and funnels, summed up.
CREATE TABLE goal_rollups_hourly (
    site_id UUID NOT NULL,
    goal_id UUID NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    conversions BIGINT NOT NULL,
    PRIMARY KEY (site_id, goal_id, bucket)
);
CREATE TABLE goal_rollups_daily (
    site_id UUID NOT NULL,
    goal_id UUID NOT NULL,
    bucket DATE NOT NULL,
    conversions BIGINT NOT NULL,
    PRIMARY KEY (site_id, goal_id, bucket)
);
CREATE TABLE goal_rollups_monthly (
    site_id UUID NOT NULL,
    goal_id UUID NOT NULL,
    bucket DATE NOT NULL,
    conversions BIGINT NOT NULL,
    PRIMARY KEY (site_id, goal_id, bucket)
);
CREATE TABLE funnel_rollups_hourly (
    site_id UUID NOT NULL,
    funnel_id UUID NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    entries BIGINT NOT NULL,
    completions BIGINT NOT NULL,
    PRIMARY KEY (site_id, funnel_id, bucket)
);
CREATE TABLE funnel_rollups_daily (
    site_id UUID NOT NULL,
    funnel_id UUID NOT NULL,
    bucket DATE NOT NULL,
    entries BIGINT NOT NULL,
    completions BIGINT NOT NULL,
    PRIMARY KEY (site_id, funnel_id, bucket)
);
CREATE TABLE funnel_rollups_monthly (
    site_id UUID NOT NULL,
    funnel_id UUID NOT NULL,
    bucket DATE NOT NULL,
    entries BIGINT NOT NULL,
    completions BIGINT NOT NULL,
    PRIMARY KEY (site_id, funnel_id, bucket)
);

-- Sums that are out of date.
CREATE TABLE rollup_dirty_buckets (
    site_id UUID NOT NULL,
    rollup_type VARCHAR NOT NULL,
    bucket_unit VARCHAR NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    CHECK (rollup_type IN ('hit', 'session')),
    CHECK (bucket_unit IN ('hour', 'day', 'month')),
    PRIMARY KEY (site_id, rollup_type, bucket_unit, bucket)
);

-- Days taken over from other programs.
CREATE TABLE imported_traffic_daily (
    site_id UUID NOT NULL,
    import_id UUID NOT NULL,
    date DATE NOT NULL,
    visitors BIGINT NOT NULL DEFAULT 0,
    visits BIGINT NOT NULL DEFAULT 0,
    pageviews BIGINT NOT NULL DEFAULT 0,
    bounces BIGINT NOT NULL DEFAULT 0,
    visit_duration BIGINT NOT NULL DEFAULT 0,
    source_file VARCHAR NOT NULL
);
CREATE TABLE imported_dimension_daily (
    site_id UUID NOT NULL,
    import_id UUID NOT NULL,
    date DATE NOT NULL,
    dimension VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    detail VARCHAR,
    visitors BIGINT NOT NULL DEFAULT 0,
    visits BIGINT NOT NULL DEFAULT 0,
    pageviews BIGINT NOT NULL DEFAULT 0,
    bounces BIGINT NOT NULL DEFAULT 0,
    visit_duration BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    entrances BIGINT NOT NULL DEFAULT 0,
    exits BIGINT NOT NULL DEFAULT 0,
    source_file VARCHAR NOT NULL
);
CREATE TABLE imported_event_daily (
    site_id UUID NOT NULL,
    import_id UUID NOT NULL,
    date DATE NOT NULL,
    event_name VARCHAR NOT NULL,
    path VARCHAR,
    link_url VARCHAR,
    visitors BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    source_file VARCHAR NOT NULL
);
CREATE TABLE imported_event_dimensions_daily (
    site_id UUID NOT NULL,
    import_id UUID NOT NULL,
    date DATE NOT NULL,
    event_name VARCHAR NOT NULL,
    dimension VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    detail VARCHAR,
    visitors BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    source_file VARCHAR NOT NULL
);
CREATE TABLE imported_event_properties_daily (
    site_id UUID NOT NULL,
    import_id UUID NOT NULL,
    date DATE NOT NULL,
    event_name VARCHAR NOT NULL DEFAULT '',
    property_key VARCHAR NOT NULL,
    property_value VARCHAR NOT NULL,
    visitors BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    source_file VARCHAR NOT NULL
);

-- Search results, per day.
CREATE TABLE search_console_facts (
    site_id UUID NOT NULL,
    property_uri VARCHAR NOT NULL,
    date DATE NOT NULL,
    query VARCHAR NOT NULL DEFAULT '',
    page VARCHAR NOT NULL DEFAULT '',
    country VARCHAR NOT NULL DEFAULT '',
    device VARCHAR NOT NULL DEFAULT '',
    clicks BIGINT NOT NULL DEFAULT 0,
    impressions BIGINT NOT NULL DEFAULT 0,
    ctr DOUBLE NOT NULL DEFAULT 0,
    position DOUBLE NOT NULL DEFAULT 0,
    aggregation_type VARCHAR NOT NULL DEFAULT '',
    data_state VARCHAR NOT NULL DEFAULT 'final',
    imported_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (site_id, property_uri, date, query, page, country, device, aggregation_type, data_state)
);
