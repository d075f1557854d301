-- Who and what the installation is made of: tenants, sites, users. Everything else refers to these.
CREATE TEMP TABLE demo_tenant AS
SELECT ordinal, demo_id(concat('tenant:', ordinal)) AS id, name, ordinal = 0 AS is_default, archived
FROM (VALUES
    (0, 'Default Tenant', FALSE), (1, 'Acme Analytics', FALSE), (2, 'Northwind Studio', FALSE),
    (3, 'Retired Project', TRUE)
) AS word (ordinal, name, archived);

-- Sites: `weight` slots of ten of the tenant's traffic; `retention` is in days.
CREATE TEMP TABLE demo_site AS
SELECT
    tenant, demo_id(concat('site:', domain)) AS id, domain, retention, weight, owner,
    demo_id(concat('qr:', domain)) AS qr_code_id
FROM (VALUES
    (0, 'acme-analytics.io', 365, 6, 0), (0, 'docs.acme-analytics.io', 30, 3, 0), (0, 'blog.example.org', NULL, 1, 1),
    (1, 'acme.example', 365, 7, 1), (1, 'shop.acme.example', 0, 3, 1),
    (2, 'northwind.example', 365, 6, 2), (2, 'portfolio.northwind.example', NULL, 4, 3),
    (3, 'retired.example', 30, 8, 0), (3, 'old.retired.example', 365, 2, 0)
) AS word (tenant, domain, retention, weight, owner);

CREATE TEMP TABLE demo_site_wheel AS
SELECT
    tenant, row_number() OVER (PARTITION BY tenant ORDER BY weight DESC, domain, turn) - 1 AS slot, id, domain,
    qr_code_id
FROM demo_site, LATERAL (SELECT unnest(range(weight)) AS turn);

-- Users; `tenant` is the one each works in.
CREATE TEMP TABLE demo_user AS
SELECT ordinal, demo_id(concat('user:', email)) AS id, email, given_name, last_name, locale, tenant
FROM (VALUES
    (0, 'ada@acme-analytics.io', 'Ada', 'Lund', 'en', 0), (1, 'bela@acme.example', 'Béla', 'Novák', 'de', 1),
    (2, 'chloe@northwind.example', 'Chloé', 'Martin', 'fr', 2),
    (3, 'dan@northwind.example', 'Dan', 'O''Hara', 'en', 2), (4, 'eve@blog.example.org', 'Eve', NULL, 'en', 0)
) AS word (ordinal, email, given_name, last_name, locale, tenant);

-- What the shared database keeps about each site's last days, gathered while the tenants are filled.
CREATE TEMP TABLE demo_activity (
    site_id UUID, first_hit_at TIMESTAMPTZ, last_hit_at TIMESTAMPTZ, last_hostname VARCHAR,
    last_event_at TIMESTAMPTZ, last_event_name VARCHAR
);
CREATE TEMP TABLE demo_activity_hour (site_id UUID, bucket TIMESTAMPTZ, hits BIGINT, events BIGINT);
