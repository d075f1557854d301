-- The explicit indexes of every database with traffic. They are made when the rows are in: that is faster by far.

-- Traffic.
CREATE INDEX idx_hits_site_id_timestamp ON hits (site_id, timestamp);
CREATE INDEX idx_hits_session_id ON hits (session_id);
CREATE INDEX idx_hits_site_id_path ON hits (site_id, path);
CREATE INDEX idx_events_site_id_timestamp ON events (site_id, timestamp);
CREATE INDEX idx_events_site_id_name ON events (site_id, name);
CREATE INDEX idx_events_session_id ON events (session_id);
CREATE INDEX idx_web_vitals_site_id_timestamp ON web_vitals (site_id, timestamp);
CREATE INDEX idx_web_vitals_site_id_metric_timestamp ON web_vitals (site_id, metric, timestamp);
CREATE INDEX idx_ai_fetches_site_id_timestamp ON ai_fetches (site_id, timestamp);
CREATE INDEX idx_ai_fetches_site_id_assistant_family ON ai_fetches (site_id, assistant_family);
CREATE INDEX idx_qr_code_opens_site_id_timestamp ON qr_code_opens (site_id, timestamp);
CREATE INDEX idx_qr_code_opens_qr_code_id_timestamp ON qr_code_opens (qr_code_id, timestamp);

-- Goals and funnels.
CREATE INDEX idx_goals_site_id ON goals (site_id);
CREATE INDEX idx_funnels_site_id ON funnels (site_id);
CREATE INDEX idx_goal_rollups_hourly_site_id_bucket ON goal_rollups_hourly (site_id, bucket);
CREATE INDEX idx_goal_rollups_daily_site_id_bucket ON goal_rollups_daily (site_id, bucket);
CREATE INDEX idx_funnel_rollups_hourly_site_id_bucket ON funnel_rollups_hourly (site_id, bucket);
CREATE INDEX idx_funnel_rollups_daily_site_id_bucket ON funnel_rollups_daily (site_id, bucket);

-- Imported days.
CREATE INDEX idx_imported_traffic_daily_site_id_date ON imported_traffic_daily (site_id, date);
CREATE INDEX idx_imported_traffic_daily_import_id ON imported_traffic_daily (import_id);
CREATE INDEX idx_imported_dimension_daily_site_id_date_dimension ON imported_dimension_daily (site_id, date, dimension);
CREATE INDEX idx_imported_dimension_daily_import_id ON imported_dimension_daily (import_id);
CREATE INDEX idx_imported_event_daily_site_id_date ON imported_event_daily (site_id, date);
CREATE INDEX idx_imported_event_dimensions_daily_site_id_date ON imported_event_dimensions_daily (site_id, date);
CREATE INDEX idx_imported_event_properties_daily_site_id_date ON imported_event_properties_daily (site_id, date);

-- Search results.
CREATE INDEX idx_search_console_facts_site_id_date ON search_console_facts (site_id, date);
