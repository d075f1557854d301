-- The one view of the shared database: the audit log of teams.
CREATE VIEW team_audit_log AS
SELECT
    id, created_at, team_id, actor_id, actor_email_snapshot, action, target_type, target_id, target_label,
    target_user_id, outcome, details, metadata_json
FROM instance_audit_log
WHERE team_id IS NOT NULL;
