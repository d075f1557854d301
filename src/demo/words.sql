-- What every later script draws from: macros for ids and draws, and weighted wheels of values.
--
-- All of it is arithmetic on integers and MD5, so that one seed gives the same rows on every machine. A wheel is a
-- table with one row per slot; a value of weight 7 fills 7 slots, and a draw modulo the slots picks one.

-- Ids and draws. Moments are microseconds since 1970, and become timestamps only where they are stored.
CREATE TEMP MACRO demo_hex(label) AS md5(concat(getvariable('seed'), ':', label));
CREATE TEMP MACRO demo_draw(label) AS md5_number_lower(concat(getvariable('seed'), ':', label));
CREATE TEMP MACRO demo_id7(moment, hex) AS
    concat(lpad(to_hex(moment // 1000), 12, '0'), '7', substr(hex, 1, 3), '8', substr(hex, 4, 15))::UUID;
CREATE TEMP MACRO demo_id(label) AS demo_id7(getvariable('founded'), demo_hex(label));
CREATE TEMP MACRO demo_at(moment) AS make_timestamp(moment)::TIMESTAMPTZ;
CREATE TEMP MACRO demo_day(days) AS getvariable('founded') + CAST(days AS BIGINT) * 86400000000;

-- The lengths of five sessions in a row: 15 hits together, in one of six orders.
CREATE TEMP TABLE demo_shape AS
SELECT
    variant,
    slot - 1 AS slot,
    lengths[slot] AS length,
    coalesce(list_sum(lengths[1:slot - 1]), 0)::BIGINT AS hits_before
FROM (VALUES
    (0, [1, 2, 3, 4, 5]),
    (1, [3, 1, 5, 2, 4]),
    (2, [5, 1, 2, 4, 3]),
    (3, [2, 4, 1, 3, 5]),
    (4, [4, 2, 5, 1, 3]),
    (5, [1, 5, 3, 2, 4])
) AS shape (variant, lengths), range(1, 6) AS slots (slot);

-- 16 paths, 100 slots.
CREATE TEMP TABLE demo_path AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, path
FROM (VALUES
    (1, 24, '/'), (2, 12, '/pricing'), (3, 9, '/features'), (4, 8, '/blog'),
    (5, 7, '/docs'), (6, 6, '/docs/install'), (7, 5, '/signup'), (8, 5, '/blog/cookieless-analytics'),
    (9, 4, '/blog/duckdb-in-production'), (10, 4, '/docs/api'), (11, 4, '/changelog'), (12, 3, '/about'),
    (13, 3, '/contact'), (14, 2, '/login'), (15, 2, '/imprint'), (16, 2, '/docs/backups')
) AS word (rank, weight, path), LATERAL (SELECT unnest(range(weight)) AS turn);

-- 14 referrers and none (35 %), 100 slots.
CREATE TEMP TABLE demo_referrer AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, referrer
FROM (VALUES
    (1, 35, NULL), (2, 22, 'https://www.google.com/'), (3, 6, 'https://www.bing.com/'),
    (4, 6, 'https://duckduckgo.com/'), (5, 5, 'https://news.ycombinator.com/'), (6, 5, 'https://github.com/'),
    (7, 4, 'https://www.reddit.com/r/selfhosted/'), (8, 3, 'https://www.linkedin.com/'), (9, 3, 'https://t.co/'),
    (10, 2, 'https://www.youtube.com/'), (11, 2, 'https://chatgpt.com/'), (12, 2, 'https://www.perplexity.ai/'),
    (13, 2, 'https://mastodon.social/'), (14, 2, 'https://lobste.rs/'), (15, 1, 'https://www.ecosia.org/')
) AS word (rank, weight, referrer), LATERAL (SELECT unnest(range(weight)) AS turn);

-- 19 countries with the place, the network and the language that belong to them, 100 slots.
CREATE TEMP TABLE demo_place AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, * EXCLUDE (rank, weight, turn)
FROM (VALUES
    (1, 9, 'DE', 'Berlin', 'Berlin', 'Deutsche Telekom', 3320, 'Deutsche Telekom AG', 'de-DE'),
    (2, 7, 'DE', 'Bavaria', 'Munich', 'Vodafone', 3209, 'Vodafone GmbH', 'de-DE'),
    (3, 5, 'DE', 'Hamburg', 'Hamburg', 'Telefonica', 6805, 'Telefonica Germany GmbH & Co. OHG', 'de-DE'),
    (4, 8, 'US', 'California', 'San Francisco', 'Comcast', 7922, 'Comcast Cable Communications, LLC', 'en-US'),
    (5, 6, 'US', 'New York', 'New York', 'Verizon', 701, 'Verizon Business', 'en-US'),
    (6, 5, 'US', 'Texas', 'Austin', 'AT&T', 7018, 'AT&T Enterprises, LLC', 'en-US'),
    (7, 7, 'GB', 'England', 'London', 'BT', 2856, 'British Telecommunications PLC', 'en-GB'),
    (8, 4, 'FR', 'Île-de-France', 'Paris', 'Orange', 3215, 'Orange S.A.', 'fr-FR'),
    (9, 2, 'FR', 'Auvergne-Rhône-Alpes', 'Lyon', 'Free', 12322, 'Free SAS', 'fr-FR'),
    (10, 5, 'NL', 'North Holland', 'Amsterdam', 'KPN', 1136, 'KPN B.V.', 'nl-NL'),
    (11, 4, 'AT', 'Vienna', 'Vienna', 'A1', 8447, 'A1 Telekom Austria AG', 'de-DE'),
    (12, 4, 'CH', 'Zurich', 'Zürich', 'Swisscom', 3303, 'Swisscom (Schweiz) AG', 'de-CH'),
    (13, 4, 'CA', 'Ontario', 'Toronto', 'Bell', 577, 'Bell Canada', 'en-US'),
    (14, 4, 'IN', 'Karnataka', 'Bengaluru', 'Jio', 55836, 'Reliance Jio Infocomm Limited', 'en-GB'),
    (15, 3, 'ES', 'Madrid', 'Madrid', 'Movistar', 3352, 'Telefonica de Espana', 'es-ES'),
    (16, 3, 'IT', 'Lombardy', 'Milan', 'TIM', 3269, 'Telecom Italia S.p.A.', 'it-IT'),
    (17, 3, 'PL', 'Masovian', 'Warsaw', 'Orange', 5617, 'Orange Polska S.A.', 'pl-PL'),
    (18, 3, 'BR', 'São Paulo', 'São Paulo', 'Claro', 28573, 'Claro S.A.', 'pt-BR'),
    (19, 3, 'JP', 'Tokyo', 'Tokyo', 'NTT', 4713, 'NTT Communications Corporation', 'ja-JP'),
    (20, 2, 'SE', 'Stockholm', 'Stockholm', 'Telia', 3301, 'Telia Company AB', 'en-US'),
    (21, 3, 'DK', 'Capital Region', 'Copenhagen', 'TDC', 3292, 'TDC Holding A/S', 'en-GB'),
    (22, 2, 'BE', 'Flanders', 'Antwerp', 'Telenet', 6848, 'Telenet BV', 'nl-NL'),
    (23, 3, 'AU', 'New South Wales', 'Sydney', 'Telstra', 1221, 'Telstra Limited', 'en-GB'),
    (24, 1, 'PT', 'Lisbon', 'Lisbon', 'MEO', 3243, 'MEO S.A.', 'pt-BR')
) AS word (rank, weight, country_code, region, city, provider, asn, asn_org, language),
    LATERAL (SELECT unnest(range(weight)) AS turn);

-- 10 user agents, 20 slots; `class` says which viewports fit.
CREATE TEMP TABLE demo_agent AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, class, user_agent
FROM (VALUES
    (1, 5, 0, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36'),
    (2, 3, 0, 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36'),
    (3, 1, 0, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0'),
    (4, 1, 0, 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:141.0) Gecko/20100101 Firefox/141.0'),
    (5, 1, 0, 'Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko/20100101 Firefox/141.0'),
    (6, 2, 0, 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15'),
    (7, 3, 1, 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1'),
    (8, 2, 1, 'Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36'),
    (9, 1, 1, 'Mozilla/5.0 (Android 15; Mobile; rv:141.0) Gecko/141.0 Firefox/141.0'),
    (10, 1, 2, 'Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1')
) AS word (rank, weight, class, user_agent), LATERAL (SELECT unnest(range(weight)) AS turn);

-- 12 viewports: four for each class of device.
CREATE TEMP TABLE demo_viewport (
    class INTEGER, slot INTEGER, viewport_width INTEGER, viewport_height INTEGER,
    screen_width INTEGER, screen_height INTEGER
);
INSERT INTO demo_viewport VALUES
    (0, 0, 1920, 969, 1920, 1080), (0, 1, 1536, 730, 1536, 864), (0, 2, 1440, 789, 1440, 900),
    (0, 3, 2560, 1305, 2560, 1440), (1, 0, 390, 664, 390, 844), (1, 1, 393, 699, 393, 852),
    (1, 2, 412, 785, 412, 915), (1, 3, 360, 660, 360, 800), (2, 0, 820, 1106, 820, 1180),
    (2, 1, 768, 954, 768, 1024), (2, 2, 1024, 1292, 1024, 1366), (2, 3, 834, 1120, 834, 1194);

-- Campaigns: 40 of 50 slots have none.
CREATE TEMP TABLE demo_campaign AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, * EXCLUDE (rank, weight, turn)
FROM (VALUES
    (1, 40, NULL, NULL, NULL, NULL, NULL, NULL),
    (2, 2, 'newsletter', 'email', 'monthly-digest', NULL, 'header-link', NULL),
    (3, 1, 'newsletter', 'email', 'product-launch', NULL, 'footer-link', NULL),
    (4, 1, 'google', 'cpc', 'brand', 'hitkeep', 'text-ad', 'https://www.google.com/'),
    (5, 1, 'google', 'cpc', 'competitors', 'cookieless analytics', 'text-ad', 'https://www.google.com/'),
    (6, 1, 'linkedin', 'social', 'founders', NULL, 'carousel', 'https://www.linkedin.com/'),
    (7, 1, 'reddit', 'social', 'self-hosting', NULL, NULL, 'https://www.reddit.com/r/selfhosted/'),
    (8, 1, 'partner', 'referral', 'summer', NULL, NULL, 'https://partner.example/'),
    (9, 2, 'flyer', 'qr', 'conference', NULL, NULL, NULL)
) AS word (rank, weight, utm_source, utm_medium, utm_campaign, utm_term, utm_content, referrer),
    LATERAL (SELECT unnest(range(weight)) AS turn);

-- Events, 20 slots.
CREATE TEMP TABLE demo_event AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, name
FROM (VALUES
    (1, 5, 'outbound_click'), (2, 4, 'newsletter_signup'), (3, 3, 'file_download'), (4, 2, 'purchase_completed'),
    (5, 2, 'form_submit'), (6, 2, 'trial_started'), (7, 1, 'demo_requested'), (8, 1, 'add_to_cart')
) AS word (rank, weight, name), LATERAL (SELECT unnest(range(weight)) AS turn);

-- Web vitals: up to `good` a value is good, above `poor` it is poor; `top` is the worst that is made.
CREATE TEMP TABLE demo_vital (metric VARCHAR, rank INTEGER, good DOUBLE, poor DOUBLE, top DOUBLE);
INSERT INTO demo_vital VALUES
    ('LCP', 0, 2500, 4000, 6500), ('INP', 1, 200, 500, 900), ('CLS', 2, 0.1, 0.25, 0.5),
    ('FCP', 3, 1800, 3000, 4800), ('TTFB', 4, 800, 1800, 2600);

-- Programs of language models that fetch pages, 10 slots.
CREATE TEMP TABLE demo_assistant AS
SELECT row_number() OVER (ORDER BY rank, turn) - 1 AS slot, name, family, user_agent
FROM (VALUES
    (1, 3, 'GPTBot', 'OpenAI', 'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)'),
    (2, 2, 'ChatGPT-User', 'OpenAI', 'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)'),
    (3, 3, 'ClaudeBot', 'Anthropic', 'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)'),
    (4, 2, 'PerplexityBot', 'Perplexity', 'Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)')
) AS word (rank, weight, name, family, user_agent), LATERAL (SELECT unnest(range(weight)) AS turn);
