-- HitKeep 2.13 and later: the default tenant's traffic has moved to a database of its own.
CREATE TABLE data_migrations (
    name VARCHAR NOT NULL,
    applied_at TIMESTAMP,
    PRIMARY KEY (name)
);
INSERT INTO data_migrations VALUES
    ('default_tenant_split_v1', make_timestamp(demo_day(380))),
    ('default_tenant_split_compacted_v1', make_timestamp(demo_day(380) + 90000000));
