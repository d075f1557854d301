-- What stands beside the traffic in the database of a tenant: goals, funnels, imported days, search results.
--
-- Variables: `tenant`, `founded`, `until`.

-- Two goals and a funnel for each site.
INSERT INTO goals
SELECT demo_id(concat('goal:', type, ':', domain)), site.id, name, type, value, demo_at(demo_day(3))
FROM demo_site AS site, (VALUES
    ('Signed up', 'path', '/signup'), ('Bought', 'event', 'purchase_completed')
) AS goal (name, type, value)
WHERE tenant = getvariable('tenant')
ORDER BY domain, type;

INSERT INTO funnels
SELECT
    demo_id(concat('funnel:', domain)), id, 'From the front page to an account',
    json_array(
        json_object('type', 'path', 'value', '/'), json_object('type', 'path', 'value', '/pricing'),
        json_object('type', 'path', 'value', '/signup')),
    demo_at(demo_day(4))
FROM demo_site
WHERE tenant = getvariable('tenant')
ORDER BY domain;

-- The 35 days before the traffic begins, taken over from another program, for the largest site of each tenant.
CREATE OR REPLACE TEMP TABLE demo_imported AS
SELECT
    site.id AS site_id,
    demo_id(concat('import:', domain)) AS import_id,
    make_timestamp(demo_day(ordinal))::DATE AS date,
    40 + (demo_draw(concat('imported:', domain, ':', ordinal)) % 90)::BIGINT AS visitors
FROM demo_site AS site, range(35) AS day (ordinal)
WHERE tenant = getvariable('tenant') AND weight >= 6;

INSERT INTO imported_traffic_daily
SELECT
    site_id, import_id, date, visitors, visitors * 5 // 4, visitors * 3, visitors // 3, visitors * 80,
    'imported_visitors.csv'
FROM demo_imported
ORDER BY date;

INSERT INTO imported_dimension_daily
SELECT
    site_id, import_id, date, dimension, name, detail, visitors // part, visitors * 5 // (4 * part),
    visitors * 3 // part, visitors // (3 * part), visitors * 80 // part, 0, visitors // part, visitors // part,
    source_file
FROM demo_imported, (VALUES
    ('page', '/', NULL, 2, 'imported_pages.csv'), ('page', '/pricing', NULL, 5, 'imported_pages.csv'),
    ('source', 'Google', 'organic', 3, 'imported_sources.csv'), ('country', 'DE', 'Berlin', 4, 'imported_locations.csv')
) AS word (dimension, name, detail, part, source_file)
ORDER BY date, dimension, name;

INSERT INTO imported_event_daily
SELECT
    site_id, import_id, date, 'File Download', '/docs', 'https://cdn.example/manual.pdf', visitors // 9, visitors // 8,
    'imported_custom_events.csv'
FROM demo_imported
ORDER BY date;

-- Search results: 30 days for each site that is connected.
INSERT INTO search_console_facts
SELECT
    id, concat('sc-domain:', domain), make_timestamp(getvariable('until'))::DATE - day.ordinal::INTEGER, query, page,
    country, device, clicks, clicks * 17, 1 / 17::DOUBLE, 3 + clicks / 8, 'byProperty',
    CASE WHEN day.ordinal < 3 THEN 'fresh' ELSE 'final' END, demo_at(getvariable('until') - 3600000000)
FROM (
    SELECT *, (demo_draw(concat('search:', domain, ':', day.ordinal, ':', query)) % 40)::BIGINT AS clicks
    FROM demo_site, range(1, 31) AS day (ordinal), (VALUES
        ('web analytics without cookies', '/', 'deu', 'DESKTOP'), ('duckdb backup', '/docs/backups', 'usa', 'DESKTOP'),
        ('self hosted analytics', '/features', 'gbr', 'MOBILE')
    ) AS word (query, page, country, device)
    WHERE tenant = getvariable('tenant') AND weight >= 6
) AS day
ORDER BY day.ordinal DESC, query;
