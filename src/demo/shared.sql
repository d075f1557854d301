-- The tables that only the shared database has, and those it has in a form of its own. Parents come first.

-- What has been migrated.
CREATE TABLE migrations (
    migration VARCHAR NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (migration)
);

-- People.
CREATE TABLE users (
    id UUID NOT NULL DEFAULT uuidv7(),
    email VARCHAR NOT NULL,
    password VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    given_name VARCHAR,
    last_name VARCHAR,
    PRIMARY KEY (id),
    UNIQUE (email)
);
CREATE TABLE user_preferences (
    user_id UUID NOT NULL,
    default_locale VARCHAR NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    active_tenant_id UUID,
    dismissed_onboarding_at TIMESTAMPTZ,
    PRIMARY KEY (user_id),
    FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE user_passkeys (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    credential_id VARCHAR NOT NULL,
    public_key VARCHAR,
    transports_json VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    sign_count BIGINT,
    credential_json VARCHAR,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    UNIQUE (credential_id)
);
CREATE TABLE user_recovery_codes (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID NOT NULL,
    code_hash VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    used_at TIMESTAMPTZ,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    UNIQUE (user_id, code_hash)
);
CREATE TABLE user_totp_factors (
    user_id UUID NOT NULL,
    secret VARCHAR NOT NULL,
    enabled_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id),
    FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE remember_me_tokens (
    token VARCHAR NOT NULL,
    user_id UUID NOT NULL,
    expires_at TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL,
    PRIMARY KEY (token),
    FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE TABLE pending_signups (
    token VARCHAR NOT NULL,
    email VARCHAR NOT NULL,
    hashed_password VARCHAR NOT NULL,
    given_name VARCHAR NOT NULL DEFAULT '',
    last_name VARCHAR NOT NULL DEFAULT '',
    team_name VARCHAR NOT NULL DEFAULT '',
    jurisdiction VARCHAR NOT NULL DEFAULT '',
    locale VARCHAR NOT NULL DEFAULT '',
    accepted_tos_at TIMESTAMPTZ,
    expires_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (token)
);
CREATE TABLE digest_subscriptions (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID NOT NULL,
    frequency VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    CHECK (frequency IN ('daily', 'weekly', 'monthly')),
    UNIQUE (user_id, frequency)
);

-- The instance.
CREATE TABLE instance_roles (
    user_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    granted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    granted_by UUID,
    FOREIGN KEY (user_id) REFERENCES users (id),
    FOREIGN KEY (granted_by) REFERENCES users (id),
    PRIMARY KEY (user_id)
);
CREATE TABLE instance_audit_log (
    id UUID NOT NULL DEFAULT uuidv7(),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    actor_id UUID,
    actor_email_snapshot VARCHAR NOT NULL DEFAULT '',
    actor_role_snapshot VARCHAR NOT NULL DEFAULT '',
    action VARCHAR NOT NULL,
    target_type VARCHAR NOT NULL DEFAULT '',
    target_id VARCHAR NOT NULL DEFAULT '',
    target_label VARCHAR NOT NULL DEFAULT '',
    outcome VARCHAR NOT NULL DEFAULT 'success',
    ip_address VARCHAR NOT NULL DEFAULT '',
    user_agent VARCHAR NOT NULL DEFAULT '',
    request_id VARCHAR NOT NULL DEFAULT '',
    details VARCHAR NOT NULL DEFAULT '',
    metadata_json VARCHAR NOT NULL DEFAULT '{}',
    team_id UUID,
    target_user_id UUID,
    ip_country_code VARCHAR DEFAULT '',
    PRIMARY KEY (id),
    FOREIGN KEY (actor_id) REFERENCES users (id)
);
CREATE TABLE instance_exclusions (
    id UUID NOT NULL DEFAULT uuidv7(),
    cidr VARCHAR NOT NULL,
    description VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    created_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);
CREATE TABLE instance_country_exclusions (
    id UUID NOT NULL DEFAULT uuidv7(),
    country_code VARCHAR NOT NULL,
    description VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    created_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);

-- Tenants.
CREATE TABLE tenants (
    id UUID NOT NULL DEFAULT uuidv7(),
    name VARCHAR NOT NULL,
    is_default BOOLEAN DEFAULT false,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    logo_url VARCHAR DEFAULT '',
    PRIMARY KEY (id)
);
CREATE TABLE tenant_archives (
    tenant_id UUID NOT NULL,
    archived_at TIMESTAMPTZ NOT NULL,
    archived_by UUID,
    PRIMARY KEY (tenant_id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE TABLE tenant_members (
    id UUID NOT NULL DEFAULT uuidv7(),
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    added_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    FOREIGN KEY (added_by) REFERENCES users (id),
    UNIQUE (tenant_id, user_id)
);
CREATE TABLE team_invites (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    email VARCHAR NOT NULL,
    role VARCHAR NOT NULL,
    invited_user_id UUID,
    status VARCHAR NOT NULL DEFAULT 'pending',
    created_by UUID,
    created_at TIMESTAMP NOT NULL DEFAULT now(),
    expires_at TIMESTAMP NOT NULL,
    accepted_at TIMESTAMP,
    revoked_at TIMESTAMP,
    PRIMARY KEY (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    FOREIGN KEY (invited_user_id) REFERENCES users (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);

-- Sites.
CREATE TABLE sites (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID NOT NULL,
    domain VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    data_retention_days INTEGER DEFAULT 365,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    UNIQUE (domain)
);
CREATE TABLE site_tenants (
    site_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (site_id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    UNIQUE (site_id, tenant_id)
);
CREATE TABLE site_members (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    added_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    added_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    FOREIGN KEY (added_by) REFERENCES users (id),
    UNIQUE (site_id, user_id)
);
CREATE TABLE site_exclusions (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    cidr VARCHAR NOT NULL,
    description VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    created_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);
CREATE TABLE site_country_exclusions (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    country_code VARCHAR NOT NULL,
    description VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    created_by UUID,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);
CREATE TABLE site_report_subscriptions (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID NOT NULL,
    site_id UUID NOT NULL,
    frequency VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL DEFAULT true,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    CHECK (frequency IN ('daily', 'weekly', 'monthly')),
    UNIQUE (user_id, site_id, frequency)
);
CREATE TABLE share_links (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    token_hash VARCHAR NOT NULL,
    created_by UUID,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    UNIQUE (token_hash),
    FOREIGN KEY (created_by) REFERENCES users (id)
);
CREATE TABLE site_activity_summary (
    site_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    first_hit_at TIMESTAMPTZ,
    last_hit_at TIMESTAMPTZ,
    last_event_at TIMESTAMPTZ,
    last_hostname VARCHAR,
    last_event_name VARCHAR,
    last_automatic_event_at TIMESTAMPTZ,
    last_automatic_event_name VARCHAR,
    tracker_source VARCHAR,
    tracker_version VARCHAR,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (site_id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE TABLE site_activity_hourly_counts (
    site_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    bucket TIMESTAMPTZ NOT NULL,
    hits BIGINT NOT NULL DEFAULT 0,
    events BIGINT NOT NULL DEFAULT 0,
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    PRIMARY KEY (site_id, bucket)
);

-- Imports of other programs' data.
CREATE TABLE site_imports (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    provider VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    source_hash VARCHAR,
    manifest JSON,
    error VARCHAR,
    bytes_total BIGINT NOT NULL DEFAULT 0,
    bytes_received BIGINT NOT NULL DEFAULT 0,
    rows_scanned BIGINT NOT NULL DEFAULT 0,
    rows_imported BIGINT NOT NULL DEFAULT 0,
    created_by UUID,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    validated_at TIMESTAMPTZ,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (created_by) REFERENCES users (id)
);
CREATE TABLE site_import_files (
    import_id UUID NOT NULL,
    file_id UUID NOT NULL,
    filename VARCHAR NOT NULL,
    relative_path VARCHAR NOT NULL,
    size_bytes BIGINT NOT NULL,
    bytes_received BIGINT NOT NULL DEFAULT 0,
    sha256 VARCHAR,
    status VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    cleaned_at TIMESTAMPTZ,
    PRIMARY KEY (import_id, file_id)
);

-- Programs that call the API.
CREATE TABLE api_clients (
    id UUID NOT NULL DEFAULT uuidv7(),
    user_id UUID,
    tenant_id UUID,
    name VARCHAR NOT NULL,
    description VARCHAR,
    secret_hash VARCHAR NOT NULL,
    instance_role VARCHAR NOT NULL DEFAULT 'user',
    expires_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    UNIQUE (secret_hash)
);
CREATE TABLE api_client_site_roles (
    id UUID NOT NULL DEFAULT uuidv7(),
    api_client_id UUID NOT NULL,
    site_id UUID NOT NULL,
    role VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    UNIQUE (api_client_id, site_id)
);

-- QR codes.
CREATE TABLE qr_codes (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    created_by UUID,
    name VARCHAR NOT NULL,
    destination_url VARCHAR NOT NULL,
    utm_source VARCHAR,
    utm_medium VARCHAR,
    utm_campaign VARCHAR,
    utm_term VARCHAR,
    utm_content VARCHAR,
    custom_params_json JSON,
    style_json JSON,
    token VARCHAR NOT NULL,
    token_hash VARCHAR NOT NULL,
    token_hint VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    archived_at TIMESTAMPTZ,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (created_by) REFERENCES users (id),
    UNIQUE (token),
    UNIQUE (token_hash)
);
CREATE TABLE qr_code_assets (
    qr_code_id UUID NOT NULL,
    site_id UUID NOT NULL,
    filename VARCHAR NOT NULL,
    content_type VARCHAR NOT NULL,
    byte_size BIGINT NOT NULL,
    width INTEGER,
    height INTEGER,
    checksum VARCHAR NOT NULL,
    storage_key VARCHAR NOT NULL DEFAULT '',
    data BLOB,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (qr_code_id),
    FOREIGN KEY (qr_code_id) REFERENCES qr_codes (id),
    FOREIGN KEY (site_id) REFERENCES sites (id)
);
CREATE TABLE qr_code_share_links (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    qr_code_id UUID NOT NULL,
    token_hash VARCHAR NOT NULL,
    token_hint VARCHAR NOT NULL,
    created_by UUID,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    FOREIGN KEY (qr_code_id) REFERENCES qr_codes (id),
    UNIQUE (token_hash),
    FOREIGN KEY (created_by) REFERENCES users (id)
);

-- Google Search Console.
CREATE TABLE google_search_console_connections (
    team_id UUID NOT NULL,
    connected_by_user_id UUID,
    google_account_email VARCHAR DEFAULT '',
    google_account_id VARCHAR DEFAULT '',
    access_token VARCHAR DEFAULT '',
    refresh_token VARCHAR DEFAULT '',
    token_type VARCHAR DEFAULT '',
    scope VARCHAR DEFAULT '',
    token_expiry TIMESTAMP,
    connected BOOLEAN DEFAULT false,
    connected_at TIMESTAMP,
    disconnected_at TIMESTAMP,
    created_at TIMESTAMP DEFAULT now(),
    updated_at TIMESTAMP DEFAULT now(),
    PRIMARY KEY (team_id)
);
CREATE TABLE google_search_console_properties (
    team_id UUID NOT NULL,
    property_uri VARCHAR NOT NULL,
    permission_level VARCHAR DEFAULT '',
    last_seen_at TIMESTAMP DEFAULT now(),
    created_at TIMESTAMP DEFAULT now(),
    updated_at TIMESTAMP DEFAULT now(),
    PRIMARY KEY (team_id, property_uri)
);
CREATE TABLE google_search_console_site_mappings (
    site_id UUID NOT NULL,
    team_id UUID NOT NULL,
    property_uri VARCHAR NOT NULL,
    mapped_by_user_id UUID,
    mapped_at TIMESTAMP DEFAULT now(),
    created_at TIMESTAMP DEFAULT now(),
    updated_at TIMESTAMP DEFAULT now(),
    PRIMARY KEY (site_id)
);
CREATE TABLE google_search_console_sync_state (
    site_id UUID NOT NULL,
    team_id UUID NOT NULL,
    state VARCHAR NOT NULL DEFAULT 'idle',
    imported_start_date DATE,
    imported_end_date DATE,
    last_success_at TIMESTAMPTZ,
    last_attempt_at TIMESTAMPTZ,
    last_error_category VARCHAR DEFAULT '',
    next_retry_at TIMESTAMPTZ,
    manual BOOLEAN NOT NULL DEFAULT false,
    updated_at TIMESTAMPTZ DEFAULT now(),
    PRIMARY KEY (site_id)
);

-- Advice made by language models.
CREATE TABLE ai_runs (
    id UUID NOT NULL,
    team_id UUID,
    site_id UUID,
    actor_id UUID,
    actor_type VARCHAR NOT NULL DEFAULT '',
    feature VARCHAR NOT NULL,
    provider VARCHAR NOT NULL,
    model VARCHAR NOT NULL,
    template_version VARCHAR NOT NULL DEFAULT '',
    evidence_ids_json JSON NOT NULL DEFAULT '[]',
    input_hash VARCHAR NOT NULL DEFAULT '',
    output_hash VARCHAR NOT NULL DEFAULT '',
    output_json JSON NOT NULL DEFAULT '{}',
    input_tokens BIGINT NOT NULL DEFAULT 0,
    output_tokens BIGINT NOT NULL DEFAULT 0,
    total_tokens BIGINT NOT NULL DEFAULT 0,
    tool_call_count BIGINT NOT NULL DEFAULT 0,
    lifecycle_events_json JSON NOT NULL DEFAULT '[]',
    status VARCHAR NOT NULL,
    error_category VARCHAR NOT NULL DEFAULT '',
    latency_ms BIGINT NOT NULL DEFAULT 0,
    created_at TIMESTAMP NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);
CREATE TABLE opportunities (
    id UUID NOT NULL,
    team_id UUID NOT NULL,
    site_id UUID NOT NULL,
    kind VARCHAR NOT NULL,
    type_key VARCHAR NOT NULL,
    title_key VARCHAR NOT NULL,
    summary_key VARCHAR NOT NULL,
    action_key VARCHAR NOT NULL,
    digest_key VARCHAR NOT NULL DEFAULT '',
    copy_params_json JSON NOT NULL DEFAULT '{}',
    impact_value VARCHAR NOT NULL,
    impact_label_key VARCHAR NOT NULL,
    confidence VARCHAR NOT NULL,
    score BIGINT NOT NULL DEFAULT 0,
    score_breakdown_json JSON NOT NULL DEFAULT '{}',
    status VARCHAR NOT NULL,
    route_label_key VARCHAR NOT NULL DEFAULT '',
    route_params_json JSON NOT NULL DEFAULT '{}',
    route_icon VARCHAR NOT NULL DEFAULT '',
    detector_version VARCHAR NOT NULL DEFAULT '',
    evidence_json JSON NOT NULL DEFAULT '[]',
    cited_evidence_ids_json JSON NOT NULL DEFAULT '[]',
    ai_run_id UUID,
    generated_at TIMESTAMP NOT NULL,
    created_at TIMESTAMP NOT NULL DEFAULT now(),
    updated_at TIMESTAMP NOT NULL DEFAULT now(),
    PRIMARY KEY (id)
);

-- The hosted service.
CREATE TABLE cloud_billing_accounts (
    tenant_id UUID NOT NULL,
    plan_code VARCHAR NOT NULL,
    plan_name VARCHAR NOT NULL,
    subscription_status VARCHAR NOT NULL,
    stripe_customer_id VARCHAR,
    stripe_subscription_id VARCHAR,
    stripe_price_id VARCHAR,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    UNIQUE (stripe_customer_id),
    UNIQUE (stripe_subscription_id)
);
CREATE TABLE cloud_billing_events (
    stripe_event_id VARCHAR NOT NULL,
    tenant_id UUID,
    event_type VARCHAR NOT NULL,
    livemode BOOLEAN NOT NULL DEFAULT false,
    payload VARCHAR,
    processing_status VARCHAR NOT NULL,
    processing_error VARCHAR,
    processed_at TIMESTAMP,
    created_at TIMESTAMP NOT NULL,
    updated_at TIMESTAMP NOT NULL,
    PRIMARY KEY (stripe_event_id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id)
);
CREATE TABLE cloud_lifecycle_messages (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    kind VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    processing_error VARCHAR,
    sent_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (id),
    FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    FOREIGN KEY (user_id) REFERENCES users (id),
    UNIQUE (tenant_id, user_id, kind)
);

-- Traffic: tied to `sites` here, free of it in a tenant's database.
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
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id)
);
CREATE TABLE events (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    session_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    properties JSON,
    timestamp TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id)
);
CREATE TABLE goals (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    type VARCHAR NOT NULL,
    value VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id),
    CHECK (type IN ('event', 'path'))
);
CREATE TABLE funnels (
    id UUID NOT NULL DEFAULT uuidv7(),
    site_id UUID NOT NULL,
    name VARCHAR NOT NULL,
    steps JSON NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY (site_id) REFERENCES sites (id)
);
