-- The year of one tenant, hour by hour: which of its sessions begin in each hour.
--
-- Variables: `tenant`, `sessions`, `until`. The rhythm is that of a working week, growing over the year, with noise
-- and, on 7 days of 100, a spike. The last hour before `until` stays empty, so that no session runs past it.
CREATE OR REPLACE TEMP TABLE demo_hour AS
WITH hours AS (
    SELECT
        ordinal,
        getvariable('until') - 31536000000000 + ordinal * 3600000000 AS begins,
        make_timestamp(getvariable('until') - 31536000000000 + ordinal * 3600000000) AS moment
    FROM range(8759) AS hour (ordinal)
),
rhythm AS (
    SELECT
        ordinal,
        begins,
        demo_draw(concat('day:', getvariable('tenant'), ':', moment::DATE)) AS draw,
        [12, 8, 6, 5, 5, 8, 16, 32, 58, 82, 94, 96, 88, 92, 98, 100, 94, 82, 66, 56, 50, 42, 30, 20][hour(moment) + 1]
            AS of_day,
        CASE WHEN isodow(moment) < 6 THEN 180 ELSE 80 END AS of_week,
        1000 + ordinal * 800 // 8760 AS of_year
    FROM hours
),
weighed AS (
    SELECT
        ordinal,
        begins,
        of_day * of_week * of_year * (75 + draw % 51)::BIGINT
            * CASE WHEN (draw >> 16) % 100 < 7 THEN 25 + (draw >> 32) % 21 ELSE 10 END::BIGINT // 1000000 AS weight
    FROM rhythm
),
summed AS (
    SELECT begins, weight, sum(weight) OVER (ORDER BY ordinal)::BIGINT AS reached, sum(weight) OVER ()::BIGINT AS total
    FROM weighed
)
SELECT
    begins,
    (reached - weight) * getvariable('sessions') // total AS first,
    reached * getvariable('sessions') // total AS beyond
FROM summed;
