-- What the shared database keeps of every tenant's traffic, gathered while the tenants were filled.
INSERT INTO site_activity_summary
SELECT
    site_id, tenant.id, first_hit_at, last_hit_at, last_event_at, last_hostname, last_event_name, NULL, NULL, 'script',
    '2.8.1', last_hit_at
FROM demo_activity
JOIN demo_site AS site ON site.id = site_id
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
ORDER BY site.domain;

INSERT INTO site_activity_hourly_counts
SELECT site_id, tenant.id, bucket, hits, events, bucket
FROM demo_activity_hour
JOIN demo_site AS site ON site.id = site_id
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
ORDER BY bucket, site.domain;
