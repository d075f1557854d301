-- What a tenant's database knows of the installation: what has been migrated, and its sites.
INSERT INTO migrations
SELECT name, demo_at(demo_day(ordinal * 2))
FROM (SELECT name, row_number() OVER (ORDER BY name) - 1 AS ordinal FROM (VALUES
    ('0000_create_sites.sql'), ('0001_create_hits.sql'), ('0002_create_events.sql'), ('0003_create_goals.sql'),
    ('0004_create_funnels.sql'), ('0005_create_hit_rollups.sql'), ('0006_create_session_rollups.sql'),
    ('0007_create_goal_and_funnel_rollups.sql'), ('0008_create_web_vitals.sql'), ('0009_create_imports.sql'),
    ('0010_create_ai_fetches.sql'), ('0011_create_search_console_facts.sql'), ('0012_create_qr_campaign_analytics.sql')
) AS word (name))
ORDER BY name;

INSERT INTO sites
SELECT id, domain, retention
FROM demo_site
WHERE tenant = getvariable('tenant')
ORDER BY domain;
