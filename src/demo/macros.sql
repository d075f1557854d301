-- The seven macros of every HitKeep database, which turn raw columns into the words of its reports.
CREATE MACRO hk_referrer(referrer) AS
    CASE
        WHEN coalesce(referrer, '') = '' THEN 'Direct'
        ELSE regexp_replace(regexp_extract(referrer, '^[a-z]+://([^/:?#]+)', 1), '^www\.', '')
    END;
CREATE MACRO hk_device(width) AS
    CASE
        WHEN width IS NULL OR width <= 0 THEN 'Unknown'
        WHEN width < 768 THEN 'Mobile'
        WHEN width < 1200 THEN 'Tablet'
        ELSE 'Desktop'
    END;
CREATE MACRO hk_country(code) AS
    CASE WHEN length(coalesce(code, '')) = 2 THEN upper(code) ELSE 'Unknown' END;
CREATE MACRO hk_browser(agent) AS
    CASE
        WHEN coalesce(agent, '') = '' THEN 'Unknown'
        WHEN contains(agent, 'Edg/') THEN 'Edge'
        WHEN contains(agent, 'Firefox/') THEN 'Firefox'
        WHEN contains(agent, 'Chrome/') THEN 'Chrome'
        WHEN contains(agent, 'Safari/') THEN 'Safari'
        ELSE 'Other'
    END;
CREATE MACRO hk_ai_bot(agent) AS
    regexp_matches(coalesce(agent, ''), '(GPTBot|ChatGPT-User|ClaudeBot|PerplexityBot|Google-Extended)');
CREATE MACRO hk_ai_source(referrer) AS
    CASE
        WHEN contains(coalesce(referrer, ''), 'chatgpt.com') THEN 'ChatGPT'
        WHEN contains(coalesce(referrer, ''), 'claude.ai') THEN 'Claude'
        WHEN contains(coalesce(referrer, ''), 'perplexity.ai') THEN 'Perplexity'
        WHEN contains(coalesce(referrer, ''), 'gemini.google.com') THEN 'Gemini'
        ELSE NULL
    END;
CREATE MACRO hk_asn(number, organisation) AS
    CASE
        WHEN number IS NULL THEN 'Unknown'
        WHEN coalesce(organisation, '') = '' THEN concat('AS', number)
        ELSE concat('AS', number, ' ', organisation)
    END;
