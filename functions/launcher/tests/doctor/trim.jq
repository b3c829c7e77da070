# What the doctor reads of `terraform show -json`, and no more. The plan and the state here are of
# the configuration in terraform/ for catalog.json; after a change there that the doctor should know
# of, copy catalog.json to terraform/doctor.json, and in terraform/:
#
#   terraform plan -out=p -var catalog_file=doctor.json -var 'systems=["signup"]' -var names_prefix=staging- \
#       -var project_id=demo-project -var image=registry.example/functions:1
#   terraform show -json p | jq -f trim.jq >plan.json
#   terraform apply p && terraform show -json | jq -f trim.jq >state.json

def kinds: ["google_cloud_run_v2_service", "google_cloud_run_v2_service_iam_member",
    "google_cloud_scheduler_job", "google_firestore_field", "google_monitoring_alert_policy",
    "google_project_iam_member", "google_project_service_identity", "google_pubsub_subscription",
    "google_pubsub_subscription_iam_member", "google_pubsub_topic", "google_pubsub_topic_iam_member",
    "google_service_account", "google_service_account_iam_member"];

def fields: ["account_id", "ack_deadline_seconds", "collection", "condition", "conditions",
    "custom_audiences", "database", "dead_letter_policy", "email", "enabled", "expiration_policy", "field",
    "filter", "http_target", "index_config", "invoker_iam_disabled", "member", "message_retention_duration",
    "name", "paused", "project", "push_config", "retry_policy", "role", "service", "service_account_id",
    "subscription", "template", "topic", "ttl_config", "uri"];

# A plan leaves out what it does not know, so that what is null can go too: there it is known not to be.
def slim: with_entries(select(.key | IN(fields[])))
    | walk(if type == "object" then with_entries(select(.value != null and .value != [])) else . end)
    | if .template[0].containers then .template[0].containers |= map({args, env}) else . end
    | if .conditions then .conditions |= map({condition_threshold: .condition_threshold | map({filter})}) else . end;

def resources: [.[] | select(.type | IN(kinds[]))
    | {address, mode, type} + if .index then {index} else {} end + {values: .values | slim}];

def expressions: [.[] | select(.type | IN(kinds[])) | {address, expressions: .expressions | slim | del(.template, .conditions)}];

{format_version}
+ if .planned_values then {
    variables: .variables | {systems},
    planned_values: {root_module: {resources: .planned_values.root_module.resources | resources}},
    configuration: {root_module: {resources: .configuration.root_module.resources | expressions}}
} else {
    values: {root_module: {resources: .values.root_module.resources | resources}}
} end
