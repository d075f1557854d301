-- The rows of the shared database that say who may do what, and what the tenants own.
--
-- Every secret, hash and token here is made up, and says so. Variables: `seed`, `founded`, `until`.

-- What has been migrated.
INSERT INTO migrations
SELECT name, demo_at(demo_day(ordinal // 8))
FROM (SELECT name, row_number() OVER (ORDER BY name) - 1 AS ordinal FROM (VALUES
    ('2025_06_01_000000_create_users.sql'), ('2025_06_01_000001_create_sites.sql'),
    ('2025_06_01_000002_create_hits.sql'), ('2025_07_14_000000_create_goals_and_funnels.sql'),
    ('2025_08_02_000000_create_events.sql'), ('2025_09_09_000000_create_share_links.sql'),
    ('2025_10_20_000000_create_api_clients.sql'), ('2025_11_11_000000_create_hit_rollups.sql'),
    ('2025_11_11_000001_create_session_rollups.sql'), ('2025_12_03_000000_create_tenants.sql'),
    ('2026_01_15_000000_create_user_security.sql'), ('2026_02_02_000000_create_web_vitals.sql'),
    ('2026_02_20_000000_create_site_imports.sql'), ('2026_03_12_000000_create_ai_fetches.sql'),
    ('2026_04_01_000000_create_search_console.sql'), ('2026_04_18_000000_create_instance_audit_log.sql'),
    ('2026_05_06_000000_create_qr_codes.sql'), ('2026_05_21_000000_create_opportunities.sql'),
    ('2026_06_03_000000_create_cloud_lifecycle_messages.sql')
) AS word (name))
ORDER BY name;

-- People.
INSERT INTO users
SELECT
    id, email,
    concat('$argon2id$v=19$m=65536,t=3,p=4$ZGVtby1zYWx0$', substr(demo_hex(concat('password:', email)), 1, 32)),
    demo_at(demo_day(ordinal)), given_name, last_name
FROM demo_user
ORDER BY ordinal;

INSERT INTO user_preferences
SELECT person.id, locale, demo_at(demo_day(40)), tenant.id, CASE WHEN person.ordinal < 3 THEN demo_at(demo_day(2)) END
FROM demo_user AS person
JOIN demo_tenant AS tenant ON tenant.ordinal = person.tenant
ORDER BY person.ordinal;

INSERT INTO user_passkeys
SELECT
    demo_id('passkey'), id, 'Security key', 'demo-credential-id', 'demo-public-key-not-a-real-one', '["usb","nfc"]',
    demo_at(demo_day(11)), demo_at(demo_day(90)), 17, '{"demo":true}'
FROM demo_user
WHERE ordinal = 0;

INSERT INTO user_recovery_codes
SELECT
    demo_id(concat('code:', code)), id, concat('demo-hash-', substr(demo_hex(concat('code:', code)), 1, 24)),
    demo_at(demo_day(10)), CASE WHEN code = 0 THEN demo_at(demo_day(77)) END
FROM demo_user, range(8) AS codes (code)
WHERE ordinal = 0
ORDER BY code;

INSERT INTO user_totp_factors
SELECT id, 'DEMODEMODEMODEMONOTAREALSECRET', demo_at(demo_day(10)), demo_at(demo_day(10))
FROM demo_user
WHERE ordinal < 2
ORDER BY ordinal;

INSERT INTO remember_me_tokens
SELECT 'demo-remember-me-token-not-a-real-one', id, make_timestamp(demo_day(430)), make_timestamp(demo_day(400))
FROM demo_user
WHERE ordinal = 0;

INSERT INTO pending_signups
VALUES (
    'demo-signup-token-not-a-real-one', 'frank@example.org', 'demo-hash-not-a-real-one', 'Frank', 'Ito',
    'Frank''s team', 'EU', 'de', demo_at(demo_day(399)), demo_at(demo_day(401)), demo_at(demo_day(399))
);

INSERT INTO digest_subscriptions
SELECT demo_id(concat('digest:', email)), id, 'weekly', ordinal <> 2, demo_at(demo_day(12)), demo_at(demo_day(12))
FROM demo_user
WHERE ordinal < 4
ORDER BY ordinal;

-- The instance.
INSERT INTO instance_roles
SELECT id, CASE ordinal WHEN 0 THEN 'owner' WHEN 1 THEN 'admin' ELSE 'user' END, demo_at(demo_day(ordinal)), NULL
FROM demo_user
ORDER BY ordinal;

INSERT INTO instance_audit_log
SELECT
    demo_id7(demo_day(entry), demo_hex(concat('audit:', entry))), demo_at(demo_day(entry)), person.id, email, 'owner',
    action, target, domain, domain, 'success', concat('192.0.2.', 1 + entry % 250), 'Mozilla/5.0 (X11; Linux x86_64)',
    concat('demo-', entry), '', json_object('entry', entry)::VARCHAR, tenant.id, NULL, 'DE'
FROM range(0, 400, 8) AS entries (entry)
JOIN demo_user AS person ON person.ordinal = entry // 8 % 3
JOIN demo_tenant AS tenant ON tenant.ordinal = person.tenant
JOIN (SELECT tenant, min(domain) AS domain FROM demo_site GROUP BY tenant) AS site ON site.tenant = person.tenant
JOIN (VALUES
    (0, 'auth.login', 'user'), (1, 'site.updated', 'site'), (2, 'share_link.created', 'site'),
    (3, 'goal.created', 'goal')
) AS word (turn, action, target) ON turn = entry // 8 % 4
ORDER BY entry;

INSERT INTO instance_exclusions
SELECT demo_id('exclusion'), '198.51.100.0/24', 'Office', demo_at(demo_day(20)), id
FROM demo_user
WHERE ordinal = 0;

INSERT INTO instance_country_exclusions
SELECT demo_id('country exclusion'), 'AQ', 'Nobody lives there', demo_at(demo_day(21)), id
FROM demo_user
WHERE ordinal = 0;

-- Tenants.
INSERT INTO tenants
SELECT id, name, is_default, demo_at(demo_day(ordinal)), ''
FROM demo_tenant
ORDER BY ordinal;

INSERT INTO tenant_archives
SELECT tenant.id, demo_at(getvariable('until')), person.id
FROM demo_tenant AS tenant, demo_user AS person
WHERE archived AND person.ordinal = 0;

INSERT INTO tenant_members
SELECT
    demo_id(concat('member:', tenant.ordinal, ':', email)), tenant.id, person.id,
    CASE WHEN person.ordinal = tenant.ordinal OR person.ordinal = 0 THEN 'owner' ELSE 'member' END,
    demo_at(demo_day(tenant.ordinal)), NULL
FROM demo_tenant AS tenant
JOIN demo_user AS person ON person.tenant = tenant.ordinal OR person.ordinal = 0
ORDER BY tenant.ordinal, person.ordinal;

INSERT INTO team_invites
SELECT
    demo_id('invite'), tenant.id, 'grace@northwind.example', 'member', NULL, 'pending', person.id,
    make_timestamp(demo_day(398)), make_timestamp(demo_day(405)), NULL, NULL
FROM demo_tenant AS tenant
JOIN demo_user AS person ON person.tenant = tenant.ordinal AND person.ordinal = 2;

-- Sites.
INSERT INTO sites
SELECT site.id, person.id, domain, demo_at(demo_day(site.tenant + 1)), retention
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
ORDER BY site.tenant, weight DESC;

INSERT INTO site_tenants
SELECT site.id, tenant.id, demo_at(demo_day(tenant.ordinal + 1))
FROM demo_site AS site
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
ORDER BY tenant.ordinal, weight DESC;

INSERT INTO site_members
SELECT demo_id(concat('site member:', domain)), site.id, person.id, 'owner', demo_at(demo_day(site.tenant + 1)), NULL
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
ORDER BY domain;

INSERT INTO site_exclusions
SELECT
    demo_id(concat('exclusion:', domain)), site.id, '203.0.113.7/32', 'Our own browser', demo_at(demo_day(30)),
    person.id
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
WHERE weight >= 6
ORDER BY domain;

INSERT INTO site_country_exclusions
SELECT demo_id('site country exclusion'), id, 'AQ', NULL, demo_at(demo_day(31)), NULL
FROM demo_site
WHERE domain = 'acme.example';

INSERT INTO site_report_subscriptions
SELECT
    demo_id(concat('report:', domain)), person.id, site.id, 'monthly', TRUE, demo_at(demo_day(32)),
    demo_at(demo_day(32))
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
ORDER BY domain;

INSERT INTO share_links
SELECT
    demo_id(concat('share:', domain)), site.id, concat('demo-hash-', demo_hex(concat('share:', domain))), person.id,
    demo_at(demo_day(50)), CASE WHEN weight < 3 THEN demo_at(demo_day(60)) END
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
ORDER BY domain;

-- Imports.
INSERT INTO site_imports
SELECT
    demo_id(concat('import:', domain)), site.id, 'plausible', 'completed', demo_hex(concat('source:', domain)),
    json_object('files', 2, 'days', 35), NULL, 48213, 48213, 210, 210, person.id, demo_at(demo_day(36)),
    demo_at(demo_day(36)), demo_at(demo_day(36)), demo_at(demo_day(36)), demo_at(demo_day(36))
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
WHERE weight >= 6
ORDER BY domain;

INSERT INTO site_import_files
SELECT
    demo_id(concat('import:', domain)), demo_id(concat('import file:', domain, filename)), filename,
    concat('plausible/', filename), 24106, 24106, concat(demo_hex(domain), demo_hex(filename)), 'cleaned',
    demo_at(demo_day(36)), demo_at(demo_day(43)), demo_at(demo_day(43))
FROM demo_site, (VALUES ('imported_visitors.csv'), ('imported_pages.csv')) AS word (filename)
WHERE weight >= 6
ORDER BY domain, filename;

-- Programs that call the API.
INSERT INTO api_clients
SELECT
    demo_id(concat('client:', word.name)), person.id, tenant.id, word.name, 'Made up',
    concat('demo-hash-', demo_hex(concat('client:', word.name))), 'user', NULL, demo_at(demo_day(399)),
    CASE WHEN word.name = 'old script' THEN demo_at(demo_day(200)) END, demo_at(demo_day(70)), demo_at(demo_day(70))
FROM (VALUES ('dashboard', 0), ('old script', 0), ('reports', 1)) AS word (name, ordinal)
JOIN demo_user AS person ON person.ordinal = word.ordinal
JOIN demo_tenant AS tenant ON tenant.ordinal = word.ordinal
ORDER BY word.name;

INSERT INTO api_client_site_roles
SELECT demo_id(concat('client role:', domain)), demo_id('client:dashboard'), id, 'viewer', demo_at(demo_day(70))
FROM demo_site
WHERE tenant = 0
ORDER BY domain;

-- QR codes: one for each site, one of them with a picture.
INSERT INTO qr_codes
SELECT
    qr_code_id, site.id, person.id, concat('Flyer for ', domain), concat('https://', domain, '/'), 'flyer', 'qr',
    'conference', NULL, NULL, json_object('stand', 'B12'), json_object('foreground', '#1a1a2e', 'logo', weight >= 6),
    concat('demo', substr(demo_hex(concat('qr:', domain)), 1, 12)),
    concat('demo-hash-', demo_hex(concat('qr:', domain))), 'demo', demo_at(demo_day(34)), demo_at(demo_day(34)), NULL
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
ORDER BY domain;

INSERT INTO qr_code_assets
SELECT
    qr_code_id, id, 'logo.png', 'image/png', 16, 1, 1, demo_hex('logo'), '',
    '\x89PNG\x0D\x0A\x1A\x0A\x00\x00\x00\x0DIHDR'::BLOB, demo_at(demo_day(35)), demo_at(demo_day(35))
FROM demo_site
WHERE domain = 'acme-analytics.io';

INSERT INTO qr_code_share_links
SELECT
    demo_id(concat('qr share:', domain)), site.id, qr_code_id,
    concat('demo-hash-', demo_hex(concat('qr share:', domain))), 'demo', person.id, demo_at(demo_day(51)), NULL
FROM demo_site AS site
JOIN demo_user AS person ON person.ordinal = site.owner
WHERE weight >= 6
ORDER BY domain;

-- Google Search Console.
INSERT INTO google_search_console_connections
SELECT
    tenant.id, person.id, person.email, 'demo-account', 'demo-access-token-not-a-real-one',
    'demo-refresh-token-not-a-real-one', 'Bearer', 'https://www.googleapis.com/auth/webmasters.readonly',
    make_timestamp(getvariable('until') + 3600000000), TRUE, make_timestamp(demo_day(100)), NULL,
    make_timestamp(demo_day(100)), make_timestamp(demo_day(399))
FROM demo_tenant AS tenant
JOIN demo_user AS person ON person.ordinal = tenant.ordinal
WHERE NOT archived
ORDER BY tenant.ordinal;

INSERT INTO google_search_console_properties
SELECT
    tenant.id, concat('sc-domain:', domain), 'siteOwner', make_timestamp(demo_day(399)), make_timestamp(demo_day(100)),
    make_timestamp(demo_day(399))
FROM demo_site AS site
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
WHERE weight >= 6
ORDER BY domain;

INSERT INTO google_search_console_site_mappings
SELECT
    site.id, tenant.id, concat('sc-domain:', domain), person.id, make_timestamp(demo_day(101)),
    make_timestamp(demo_day(101)), make_timestamp(demo_day(101))
FROM demo_site AS site
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
JOIN demo_user AS person ON person.ordinal = site.owner
WHERE weight >= 6
ORDER BY domain;

INSERT INTO google_search_console_sync_state
SELECT
    site.id, tenant.id, 'idle', make_timestamp(getvariable('until'))::DATE - 30,
    make_timestamp(getvariable('until'))::DATE - 1,
    demo_at(getvariable('until') - 3600000000), demo_at(getvariable('until') - 3600000000), '', NULL, FALSE,
    demo_at(getvariable('until') - 3600000000)
FROM demo_site AS site
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
WHERE weight >= 6
ORDER BY domain;

-- Advice.
INSERT INTO ai_runs
SELECT
    demo_id('ai run'), tenant.id, NULL, NULL, 'system', 'opportunities', 'demo-provider', 'demo-model', 'v1',
    '["demo-evidence"]', demo_hex('ai input'), demo_hex('ai output'), '{"opportunities":1}', 1830, 214, 2044, 2, '[]',
    'completed', '', 4120, make_timestamp(demo_day(390))
FROM demo_tenant AS tenant
WHERE is_default;

INSERT INTO opportunities
SELECT
    demo_id(concat('opportunity:', domain)), tenant.id, site.id, 'traffic', 'search-growth', 'opportunity.search.title',
    'opportunity.search.summary', 'opportunity.search.action', 'opportunity.search.digest', '{"share":12}', '+12 %',
    'opportunity.impact.visits', 'medium', 62, '{"volume":40,"trend":22}', 'open', 'route.sources', '{"period":"30d"}',
    'trending-up', 'v3', '[{"id":"demo-evidence"}]', '["demo-evidence"]', demo_id('ai run'),
    make_timestamp(demo_day(390)), make_timestamp(demo_day(390)), make_timestamp(demo_day(391))
FROM demo_site AS site
JOIN demo_tenant AS tenant ON tenant.ordinal = site.tenant
WHERE is_default
ORDER BY domain;
