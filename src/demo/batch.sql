-- One batch of one tenant's traffic: the sessions from number `first` up to, not including, `beyond`.
--
-- Variables: `tenant`, `hits` (the tenant's total, where its last session is cut off), `first`, `beyond`.

-- Sessions: who comes, from where, to which site, and for how many pages.
CREATE OR REPLACE TEMP TABLE demo_session AS
WITH numbered AS (
    SELECT begins, unnest(range(greatest(first, getvariable('first')), least(beyond, getvariable('beyond')))) AS number
    FROM demo_hour
    WHERE beyond > getvariable('first') AND first < getvariable('beyond')
),
drawn AS (
    SELECT
        number,
        begins,
        demo_hex(concat('session:', getvariable('tenant'), ':', number))::UUID AS session_id,
        demo_draw(concat('visitor:', getvariable('tenant'), ':', number)) AS draw,
        demo_draw(concat('origin:', getvariable('tenant'), ':', number)) AS origin,
        demo_draw(concat('shape:', getvariable('tenant'), ':', number // 5)) AS shape
    FROM numbered
)
SELECT
    drawn.session_id,
    begins + (draw % 3600000000)::BIGINT AS begins,
    (5000000 + (origin >> 20) % 180000000)::BIGINT AS pause,
    number // 5 * 15 + shape.hits_before AS hit,
    shape.length,
    site.id AS site_id,
    site.domain AS hostname,
    agent.user_agent,
    viewport.* EXCLUDE (class, slot),
    place.* EXCLUDE (slot),
    campaign.* EXCLUDE (slot, referrer),
    CASE WHEN campaign.utm_source IS NULL THEN referrer.referrer ELSE campaign.referrer END AS referrer,
    CASE WHEN campaign.utm_medium = 'qr' THEN site.qr_code_id END AS qr_code_id
FROM drawn
JOIN demo_shape AS shape ON shape.variant = drawn.shape % 6 AND shape.slot = number % 5
JOIN demo_site_wheel AS site ON site.tenant = getvariable('tenant') AND site.slot = (draw >> 34) % 10
JOIN demo_agent AS agent ON agent.slot = (draw >> 40) % 20
JOIN demo_viewport AS viewport ON viewport.class = agent.class AND viewport.slot = (draw >> 46) % 4
JOIN demo_place AS place ON place.slot = (draw >> 50) % 100
JOIN demo_referrer AS referrer ON referrer.slot = origin % 100
JOIN demo_campaign AS campaign ON campaign.slot = (origin >> 10) % 50;

-- Pages: each step of each session. Only the first step knows where the visitor came from.
CREATE OR REPLACE TEMP TABLE demo_hit AS
WITH stepped AS (
    SELECT *, unnest(range(length)) AS step FROM demo_session
),
drawn AS (
    SELECT
        *,
        demo_hex(concat('hit:', getvariable('tenant'), ':', hit + step)) AS hex,
        demo_draw(concat('page:', getvariable('tenant'), ':', hit + step)) AS draw
    FROM stepped
    WHERE hit + step < getvariable('hits')
)
SELECT
    drawn.* EXCLUDE (hit, length, begins, pause),
    begins + step * pause + CASE WHEN step = 0 THEN 0 ELSE (draw % 4000000)::BIGINT END AS moment,
    path.path
FROM drawn
JOIN demo_path AS path ON path.slot = (draw >> 24) % 100;

-- Page views.
INSERT INTO hits
SELECT
    demo_id7(moment, hex) AS id,
    site_id,
    session_id,
    md5(hex)::UUID AS page_id,
    demo_at(moment) AS "timestamp",
    path,
    hostname,
    CASE WHEN step = 0 THEN referrer END AS referrer,
    user_agent,
    viewport_width,
    viewport_height,
    screen_width,
    screen_height,
    language,
    step = 0 AS is_unique,
    country_code,
    CASE WHEN step = 0 THEN utm_source END AS utm_source,
    CASE WHEN step = 0 THEN utm_medium END AS utm_medium,
    CASE WHEN step = 0 THEN utm_campaign END AS utm_campaign,
    CASE WHEN step = 0 THEN utm_term END AS utm_term,
    CASE WHEN step = 0 THEN utm_content END AS utm_content,
    region,
    city,
    provider,
    asn,
    asn_org,
    CASE WHEN step = 0 THEN qr_code_id END AS qr_code_id
FROM demo_hit
ORDER BY moment, id;

-- Events: 8 hits of 100 have one, some seconds later.
INSERT INTO events
SELECT
    demo_id7(moment + 3000000, md5(concat('event:', hex))) AS id,
    site_id,
    session_id,
    name,
    CASE name
        WHEN 'outbound_click' THEN json_object(
            'url', concat('https://partner.example/', draw % 40), 'text', 'Read more')
        WHEN 'newsletter_signup' THEN json_object('form', 'footer', 'language', language, 'confirmed', draw % 3 > 0)
        WHEN 'file_download' THEN json_object(
            'file', concat('whitepaper-', draw % 6, '.pdf'), 'bytes', 180000 + draw % 900000)
        WHEN 'purchase_completed' THEN json_object(
            'value', (1900 + draw % 9000) / 100, 'currency', 'EUR', 'order', concat('A-', 100000 + draw % 900000),
            'items', json_array(json_object('sku', concat('plan-', draw % 4), 'quantity', 1 + draw % 3)))
        WHEN 'form_submit' THEN json_object('form', 'contact', 'fields', 3 + draw % 5, 'path', path)
        WHEN 'trial_started' THEN json_object('plan', 'team', 'seats', 1 + draw % 20)
        WHEN 'demo_requested' THEN json_object('company', concat('Company ', draw % 500), 'country', country_code)
        ELSE json_object('sku', concat('plan-', draw % 4), 'quantity', 1 + draw % 3, 'coupon', NULL)
    END AS properties,
    demo_at(moment + 3000000) AS "timestamp"
FROM demo_hit
JOIN demo_event ON slot = (draw >> 40) % 20
WHERE (draw >> 32) % 100 < 8
ORDER BY moment, id;

-- Web vitals: 1 page of 25 is measured, five ways.
INSERT INTO web_vitals
WITH measured AS (
    SELECT
        hit.*,
        vital.*,
        demo_draw(concat('vital:', metric, ':', hex)) % 1000 AS share,
        md5(concat('vital:', metric, ':', hex)) AS vital_hex
    FROM demo_hit AS hit, demo_vital AS vital
    WHERE (hit.draw >> 36) % 25 = 0
),
valued AS (
    SELECT *, floor(top * (share * share)::DOUBLE / 1000) / 1000 AS value FROM measured
)
SELECT
    demo_id7(moment + 1500000 + rank, vital_hex) AS id,
    site_id,
    session_id,
    md5(hex)::UUID AS page_id,
    metric,
    concat('v5-', substr(vital_hex, 1, 12)) AS metric_id,
    value,
    CASE WHEN value <= good THEN 'good' WHEN value <= poor THEN 'needs_improvement' ELSE 'poor' END AS rating,
    path,
    CASE WHEN step = 0 THEN 'navigate' ELSE 'back-forward' END AS navigation_type,
    demo_at(moment + 1500000) AS "timestamp",
    'script' AS tracker_source,
    '2.8.1' AS tracker_version
FROM valued
ORDER BY moment, id;

-- Fetches by language models: as many as 3 of 100 hits.
INSERT INTO ai_fetches
SELECT
    demo_id7(moment, md5(concat('fetch:', hex))) AS id,
    site_id,
    demo_at(moment) AS "timestamp",
    name AS assistant_name,
    family AS assistant_family,
    path,
    hostname,
    CASE WHEN draw % 20 = 0 THEN 404 ELSE 200 END AS status_code,
    'text/html; charset=utf-8' AS content_type,
    'page' AS resource_type,
    (12 + draw % 340)::INTEGER AS response_ms,
    (4000 + draw % 90000)::BIGINT AS bytes_served,
    assistant.user_agent
FROM demo_hit
JOIN demo_assistant AS assistant ON assistant.slot = (draw >> 8) % 10
WHERE (draw >> 44) % 100 < 3
ORDER BY moment, id;

-- Opened QR codes: each leads to the first page of a session.
INSERT INTO qr_code_opens
SELECT
    demo_id7(moment - 400000, md5(concat('open:', hex))) AS id,
    site_id,
    qr_code_id,
    demo_at(moment - 400000) AS "timestamp",
    NULL AS referrer,
    user_agent,
    country_code,
    region,
    city,
    provider,
    asn,
    asn_org
FROM demo_hit
WHERE step = 0 AND qr_code_id IS NOT NULL
ORDER BY moment, id;
