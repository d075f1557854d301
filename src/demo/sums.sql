-- The sums of a tenant's traffic, computed from the rows they sum up, and what the shared database keeps of them.

-- Sessions, one row each.
CREATE OR REPLACE TEMP TABLE demo_visit AS
SELECT
    any_value(site_id) AS site_id,
    date_trunc('hour', min("timestamp")::TIMESTAMP) AS bucket,
    count(*) AS pageviews,
    (epoch_us(max("timestamp")::TIMESTAMP) - epoch_us(min("timestamp")::TIMESTAMP)) // 1000000 AS seconds,
    bool_or(path = '/') AS entered,
    bool_or(path = '/') AND bool_or(path = '/pricing') AND bool_or(path = '/signup') AS completed
FROM hits
GROUP BY session_id;

-- Page views and visitors.
INSERT INTO hit_rollups_hourly
SELECT site_id, date_trunc('hour', "timestamp"::TIMESTAMP)::TIMESTAMPTZ AS bucket, count(*), count(*) FILTER (is_unique)
FROM hits
GROUP BY ALL
ORDER BY bucket, site_id;

INSERT INTO hit_rollups_daily
SELECT site_id, bucket::TIMESTAMP::DATE AS day, sum(pageviews), sum(visitors)
FROM hit_rollups_hourly
GROUP BY ALL
ORDER BY day, site_id;

INSERT INTO hit_rollups_monthly
SELECT site_id, date_trunc('month', bucket)::DATE AS month, sum(pageviews), sum(visitors)
FROM hit_rollups_daily
GROUP BY ALL
ORDER BY month, site_id;

-- Sessions.
INSERT INTO session_rollups_hourly
SELECT site_id, bucket::TIMESTAMPTZ, count(*), count(*) FILTER (pageviews = 1), sum(seconds)::DOUBLE, sum(pageviews)
FROM demo_visit
GROUP BY site_id, bucket
ORDER BY bucket, site_id;

INSERT INTO session_rollups_daily
SELECT
    site_id, bucket::TIMESTAMP::DATE AS day, sum(sessions), sum(bounced_sessions), sum(duration_sum_seconds),
    sum(pageviews)
FROM session_rollups_hourly
GROUP BY ALL
ORDER BY day, site_id;

INSERT INTO session_rollups_monthly
SELECT
    site_id, date_trunc('month', bucket)::DATE AS month, sum(sessions), sum(bounced_sessions),
    sum(duration_sum_seconds), sum(pageviews)
FROM session_rollups_daily
GROUP BY ALL
ORDER BY month, site_id;

-- Goals: a page that was seen, or an event that was sent.
INSERT INTO goal_rollups_hourly
SELECT goal.site_id, goal.id AS goal_id, date_trunc('hour', met."timestamp"::TIMESTAMP)::TIMESTAMPTZ AS bucket, count(*)
FROM goals AS goal
JOIN (
    SELECT site_id, 'path' AS type, path AS value, "timestamp" FROM hits WHERE path IN (SELECT value FROM goals)
    UNION ALL
    SELECT site_id, 'event' AS type, name AS value, "timestamp" FROM events
) AS met ON met.site_id = goal.site_id AND met.type = goal.type AND met.value = goal.value
GROUP BY ALL
ORDER BY bucket, goal_id;

INSERT INTO goal_rollups_daily
SELECT site_id, goal_id, bucket::TIMESTAMP::DATE AS day, sum(conversions)
FROM goal_rollups_hourly
GROUP BY ALL
ORDER BY day, goal_id;

INSERT INTO goal_rollups_monthly
SELECT site_id, goal_id, date_trunc('month', bucket)::DATE AS month, sum(conversions)
FROM goal_rollups_daily
GROUP BY ALL
ORDER BY month, goal_id;

-- Funnels.
INSERT INTO funnel_rollups_hourly
SELECT visit.site_id, funnel.id AS funnel_id, visit.bucket::TIMESTAMPTZ, count(*), count(*) FILTER (completed)
FROM demo_visit AS visit
JOIN funnels AS funnel ON funnel.site_id = visit.site_id
WHERE entered
GROUP BY visit.site_id, funnel.id, visit.bucket
ORDER BY visit.bucket, funnel_id;

INSERT INTO funnel_rollups_daily
SELECT site_id, funnel_id, bucket::TIMESTAMP::DATE AS day, sum(entries), sum(completions)
FROM funnel_rollups_hourly
GROUP BY ALL
ORDER BY day, funnel_id;

INSERT INTO funnel_rollups_monthly
SELECT site_id, funnel_id, date_trunc('month', bucket)::DATE AS month, sum(entries), sum(completions)
FROM funnel_rollups_daily
GROUP BY ALL
ORDER BY month, funnel_id;

-- The hour in which the installation stopped is not summed up to its end.
INSERT INTO rollup_dirty_buckets
SELECT site_id, kind, 'hour', max(bucket), demo_at(getvariable('until'))
FROM hit_rollups_hourly, (VALUES ('hit'), ('session')) AS word (kind)
GROUP BY site_id, kind
ORDER BY site_id, kind;

-- What the shared database keeps: the ends of each site's traffic, and its last week hour by hour.
INSERT INTO demo_activity
SELECT seen.*, sent.last_event_at, sent.last_event_name
FROM (
    SELECT site_id, min("timestamp"), max("timestamp"), any_value(hostname) FROM hits GROUP BY site_id
) AS seen
LEFT JOIN (
    SELECT site_id, max("timestamp") AS last_event_at, arg_max(name, id) AS last_event_name FROM events GROUP BY site_id
) AS sent USING (site_id);

INSERT INTO demo_activity_hour
SELECT site_id, bucket, sum(hits), sum(events)
FROM (
    SELECT site_id, bucket, pageviews AS hits, 0 AS events FROM hit_rollups_hourly
    UNION ALL
    SELECT site_id, date_trunc('hour', "timestamp"::TIMESTAMP)::TIMESTAMPTZ, 0, 1 FROM events
)
WHERE bucket >= demo_at(getvariable('until') - 7 * 86400000000)
GROUP BY site_id, bucket;

DROP TABLE demo_visit;
