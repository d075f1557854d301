-- The explicit indexes that only the shared database has.

-- People.
CREATE INDEX idx_user_passkeys_user_id ON user_passkeys (user_id);
CREATE INDEX idx_user_recovery_codes_user_id ON user_recovery_codes (user_id);
CREATE INDEX idx_remember_me_tokens_user_id ON remember_me_tokens (user_id);
CREATE INDEX idx_pending_signups_email ON pending_signups (email);
CREATE INDEX idx_digest_subscriptions_frequency_enabled ON digest_subscriptions (frequency, enabled);

-- The instance.
CREATE INDEX idx_instance_audit_log_created_at ON instance_audit_log (created_at);
CREATE INDEX idx_instance_audit_log_actor_id ON instance_audit_log (actor_id);
CREATE INDEX idx_instance_audit_log_team_id_created_at ON instance_audit_log (team_id, created_at);
CREATE UNIQUE INDEX idx_instance_exclusions_cidr ON instance_exclusions (cidr);
CREATE UNIQUE INDEX idx_instance_country_exclusions_country_code ON instance_country_exclusions (country_code);

-- Tenants.
CREATE INDEX idx_tenants_is_default ON tenants (is_default);
CREATE INDEX idx_tenant_members_tenant_id ON tenant_members (tenant_id);
CREATE INDEX idx_tenant_members_user_id ON tenant_members (user_id);
CREATE INDEX idx_team_invites_tenant_id ON team_invites (tenant_id);
CREATE INDEX idx_team_invites_email ON team_invites (email);

-- Sites.
CREATE INDEX idx_sites_user_id ON sites (user_id);
CREATE INDEX idx_site_tenants_tenant_id ON site_tenants (tenant_id);
CREATE INDEX idx_site_members_site_id ON site_members (site_id);
CREATE INDEX idx_site_members_user_id ON site_members (user_id);
CREATE UNIQUE INDEX idx_site_exclusions_site_id_cidr ON site_exclusions (site_id, cidr);
CREATE UNIQUE INDEX idx_site_country_exclusions_site_id_country_code ON site_country_exclusions (site_id, country_code);
CREATE INDEX idx_site_report_subscriptions_site_id ON site_report_subscriptions (site_id);
CREATE INDEX idx_share_links_site_id ON share_links (site_id);
CREATE INDEX idx_site_activity_summary_tenant_id ON site_activity_summary (tenant_id);
CREATE INDEX idx_site_activity_hourly_counts_tenant_id_bucket ON site_activity_hourly_counts (tenant_id, bucket);
CREATE INDEX idx_site_imports_site_id_created_at ON site_imports (site_id, created_at);

-- Programs that call the API, and QR codes.
CREATE INDEX idx_api_clients_tenant_id ON api_clients (tenant_id);
CREATE INDEX idx_api_client_site_roles_api_client_id ON api_client_site_roles (api_client_id);
CREATE INDEX idx_qr_codes_site_id ON qr_codes (site_id);
CREATE INDEX idx_qr_code_share_links_qr_code_id ON qr_code_share_links (qr_code_id);

-- The rest.
CREATE INDEX idx_google_search_console_site_mappings_team_id ON google_search_console_site_mappings (team_id);
CREATE INDEX idx_google_search_console_sync_state_state ON google_search_console_sync_state (state);
CREATE INDEX idx_opportunities_site_id_status ON opportunities (site_id, status);
CREATE INDEX idx_opportunities_team_id ON opportunities (team_id);
CREATE INDEX idx_ai_runs_team_id_created_at ON ai_runs (team_id, created_at);
CREATE INDEX idx_cloud_billing_events_tenant_id ON cloud_billing_events (tenant_id);
CREATE INDEX idx_cloud_lifecycle_messages_tenant_id ON cloud_lifecycle_messages (tenant_id);
