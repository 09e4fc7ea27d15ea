//! Which keys a configuration may hold, what type each has, and how a later file's value meets an earlier one.

use Kind::{Append, Block, Bool, Count, Dur, Free, Int, Keyed, Map, Replace, Str, Whole};

/// The type of a key's value, and with it the rule by which it is merged.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A string; a later one wins unless it is empty.
    Str,
    /// A number; a later one wins unless it is zero.
    Int,
    /// A number; a later one wins, even if it is zero.
    Count,
    /// A boolean; a later `true` wins, a later `false` does nothing.
    Bool,
    /// A duration such as `10s`, or nanoseconds.
    Dur,
    /// A list of strings to which a later file appends.
    Append,
    /// A list of strings that a later file replaces.
    Replace,
    /// Strings by name, merged by key.
    Map,
    /// A block, merged key by key.
    Block(&'static Schema),
    /// Blocks by label, merged by label, each replaced as a whole.
    Keyed(&'static Schema),
    /// A block that is taken as it is and replaced as a whole.
    Whole,
    /// A block that is taken as it is; what it sets is not used here.
    Free,
}

/// The keys of one block.
#[derive(Debug)]
pub(crate) struct Schema {
    /// What precedes `unexpected keys`, with its space, or nothing.
    pub(crate) name: &'static str,
    /// Keys and types.
    pub(crate) keys: &'static [(&'static str, Kind)],
    /// Whether other keys are fatal.
    pub(crate) strict: bool,
}

/// The whole file.
pub(crate) static TOP: Schema = Schema {
    name: "",
    strict: true,
    keys: &[
        ("region", Str),
        ("datacenter", Str),
        ("name", Str),
        ("data_dir", Str),
        ("plugin_dir", Str),
        ("log_level", Str),
        ("log_json", Bool),
        ("log_include_location", Bool),
        ("log_file", Str),
        ("log_rotate_bytes", Int),
        ("log_rotate_duration", Dur),
        ("log_rotate_max_files", Int),
        ("bind_addr", Str),
        ("enable_debug", Bool),
        ("ports", Block(&PORTS)),
        ("addresses", Block(&ADDRESSES)),
        ("advertise", Block(&ADVERTISE)),
        ("client", Block(&CLIENT)),
        ("server", Block(&SERVER)),
        ("rpc", Free),
        ("acl", Block(&ACL)),
        ("telemetry", Block(&TELEMETRY)),
        ("leave_on_interrupt", Bool),
        ("leave_on_terminate", Bool),
        ("enable_syslog", Bool),
        ("syslog_facility", Str),
        ("disable_update_check", Bool),
        ("disable_anonymous_signature", Bool),
        ("consul", Free),
        ("vault", Free),
        ("tls", Block(&TLS)),
        ("http_api_response_headers", Map),
        ("autopilot", Block(&AUTOPILOT)),
        ("sentinel", Free),
        ("plugin", Keyed(&PLUGIN)),
        ("limits", Block(&LIMITS)),
        ("audit", Free),
        ("reporting", Free),
        ("ui", Free),
        ("keyring", Free),
        ("eventlog", Free),
    ],
};

static PORTS: Schema = Schema { name: "ports ", strict: true, keys: &[("http", Int), ("rpc", Int), ("serf", Int)] };
static ADDRESSES: Schema =
    Schema { name: "addresses ", strict: true, keys: &[("http", Str), ("rpc", Str), ("serf", Str)] };
static ADVERTISE: Schema =
    Schema { name: "advertise ", strict: true, keys: &[("http", Str), ("rpc", Str), ("serf", Str)] };

static JOIN_OF_SERVER: Schema = Schema { name: "server_join.server ", strict: true, keys: JOIN_KEYS };
static JOIN_OF_CLIENT: Schema = Schema { name: "server_join.client ", strict: true, keys: JOIN_KEYS };
static JOIN_KEYS: &[(&str, Kind)] =
    &[("start_join", Replace), ("retry_join", Replace), ("retry_max", Int), ("retry_interval", Dur)];

static SERVER: Schema = Schema {
    name: "server ",
    strict: true,
    keys: &[
        ("enabled", Bool),
        ("authoritative_region", Str),
        ("bootstrap_expect", Int),
        ("data_dir", Str),
        ("protocol_version", Int),
        ("raft_protocol", Int),
        ("raft_multiplier", Int),
        ("num_schedulers", Int),
        ("enabled_schedulers", Replace),
        ("node_gc_threshold", Str),
        ("job_gc_interval", Str),
        ("job_gc_threshold", Str),
        ("eval_gc_threshold", Str),
        ("batch_eval_gc_threshold", Str),
        ("deployment_gc_threshold", Str),
        ("csi_volume_claim_gc_interval", Str),
        ("csi_volume_claim_gc_threshold", Str),
        ("csi_plugin_gc_threshold", Str),
        ("acl_token_gc_threshold", Str),
        ("root_key_gc_interval", Str),
        ("root_key_gc_threshold", Str),
        ("root_key_rotation_threshold", Str),
        ("heartbeat_grace", Dur),
        ("min_heartbeat_ttl", Dur),
        ("max_heartbeats_per_second", Int),
        ("failover_heartbeat_ttl", Dur),
        ("start_join", Replace),
        ("retry_join", Replace),
        ("retry_max", Int),
        ("retry_interval", Dur),
        ("rejoin_after_leave", Bool),
        ("encrypt", Str),
        ("non_voting_server", Bool),
        ("redundancy_zone", Str),
        ("upgrade_version", Str),
        ("server_join", Block(&JOIN_OF_SERVER)),
        ("default_scheduler_config", Free),
        ("plan_rejection_tracker", Free),
        ("enable_event_broker", Bool),
        ("event_buffer_size", Int),
        ("license_path", Str),
        ("license_env", Str),
        ("search", Free),
        ("deployment_query_rate_limit", Int),
        ("raft_boltdb", Free),
        ("raft_logstore", Free),
        ("raft_snapshot_threshold", Int),
        ("raft_snapshot_interval", Str),
        ("raft_trailing_logs", Int),
        ("job_default_priority", Int),
        ("job_max_priority", Int),
        ("job_max_source_size", Str),
        ("job_max_count", Int),
        ("job_tracked_versions", Int),
        ("oidc_issuer", Str),
        ("client_introduction", Free),
        ("start_timeout", Str),
    ],
};

static CLIENT: Schema = Schema {
    name: "client ",
    strict: true,
    keys: &[
        ("enabled", Bool),
        ("state_dir", Str),
        ("alloc_dir", Str),
        ("alloc_mounts_dir", Str),
        ("servers", Append),
        ("node_class", Str),
        ("node_pool", Str),
        ("options", Map),
        ("meta", Map),
        ("chroot_env", Map),
        ("network_interface", Str),
        ("network_speed", Int),
        ("cpu_total_compute", Int),
        ("cpu_disable_dmidecode", Bool),
        ("memory_total_mb", Int),
        ("disk_total_mb", Int),
        ("disk_free_mb", Int),
        ("max_kill_timeout", Str),
        ("client_max_port", Int),
        ("client_min_port", Int),
        ("max_dynamic_port", Int),
        ("min_dynamic_port", Int),
        ("reserved", Block(&RESERVED)),
        ("reservable_cores", Str),
        ("gc_interval", Dur),
        ("gc_parallel_destroys", Int),
        ("gc_disk_usage_threshold", Int),
        ("gc_inode_usage_threshold", Int),
        ("gc_max_allocs", Int),
        ("gc_volumes_on_node_gc", Bool),
        ("no_host_uuid", Bool),
        ("disable_remote_exec", Bool),
        ("default_ineligible", Bool),
        ("server_join", Block(&JOIN_OF_CLIENT)),
        ("host_volume", Keyed(&HOST_VOLUME)),
        ("host_volumes_dir", Str),
        ("host_volume_plugin_dir", Str),
        ("host_network", Free),
        ("cni_path", Str),
        ("cni_config_dir", Str),
        ("bridge_network_name", Str),
        ("bridge_network_subnet", Str),
        ("bridge_network_subnet_ipv6", Str),
        ("bridge_network_hairpin_mode", Bool),
        ("bind_wildcard_default_host_network", Bool),
        ("template", Free),
        ("artifact", Free),
        ("drain_on_shutdown", Block(&DRAIN)),
        ("cgroup_parent", Str),
        ("nomad_service_discovery", Bool),
        ("users", Free),
        ("common_plugin_dir", Str),
        ("preferred_address_family", Str),
        ("node_max_allocs", Int),
        ("fingerprint", Free),
        ("intro_token", Str),
    ],
};

static RESERVED: Schema = Schema {
    name: "reserved.client ",
    strict: true,
    keys: &[("cpu", Int), ("memory", Int), ("disk", Int), ("cores", Str), ("reserved_ports", Str)],
};
static DRAIN: Schema = Schema {
    name: "drain_on_shutdown.client ",
    strict: true,
    keys: &[("deadline", Dur), ("force", Bool), ("ignore_system_jobs", Bool)],
};
static HOST_VOLUME: Schema = Schema { name: "", strict: false, keys: &[("path", Str), ("read_only", Bool)] };
static PLUGIN: Schema = Schema { name: "", strict: false, keys: &[("args", Replace), ("config", Whole)] };
static ACL: Schema = Schema {
    name: "acl ",
    strict: true,
    keys: &[
        ("enabled", Bool),
        ("token_ttl", Dur),
        ("policy_ttl", Dur),
        ("role_ttl", Dur),
        ("replication_token", Str),
        ("token_min_expiration_ttl", Dur),
        ("token_max_expiration_ttl", Dur),
    ],
};
static TLS: Schema = Schema {
    name: "tls ",
    strict: true,
    keys: &[
        ("http", Bool),
        ("rpc", Bool),
        ("ca_file", Str),
        ("cert_file", Str),
        ("key_file", Str),
        ("verify_server_hostname", Bool),
        ("verify_https_client", Bool),
        ("rpc_upgrade_mode", Bool),
        ("tls_cipher_suites", Str),
        ("tls_min_version", Str),
        ("tls_prefer_server_cipher_suites", Bool),
    ],
};
static AUTOPILOT: Schema = Schema {
    name: "autopilot ",
    strict: true,
    keys: &[
        ("cleanup_dead_servers", Bool),
        ("server_stabilization_time", Dur),
        ("last_contact_threshold", Dur),
        ("max_trailing_logs", Int),
        ("min_quorum", Int),
        ("enable_redundancy_zones", Bool),
        ("disable_upgrade_migration", Bool),
        ("enable_custom_upgrades", Bool),
    ],
};
static LIMITS: Schema = Schema {
    name: "limits ",
    strict: false,
    keys: &[
        ("https_handshake_timeout", Str),
        ("http_max_conns_per_client", Count),
        ("rpc_handshake_timeout", Str),
        ("rpc_max_conns_per_client", Int),
    ],
};
static TELEMETRY: Schema = Schema {
    name: "telemetry ",
    strict: true,
    keys: &[
        ("prometheus_metrics", Bool),
        ("disable_hostname", Bool),
        ("use_node_name", Bool),
        ("collection_interval", Dur),
        ("in_memory_collection_interval", Dur),
        ("in_memory_retention_period", Dur),
        ("publish_allocation_metrics", Bool),
        ("publish_node_metrics", Bool),
        ("include_alloc_metadata_in_metrics", Bool),
        ("allowed_metadata_keys_in_metrics", Replace),
        ("filter_default", Bool),
        ("prefix_filter", Replace),
        ("statsite_address", Str),
        ("statsd_address", Str),
        ("datadog_address", Str),
        ("datadog_tags", Replace),
        ("disable_dispatched_job_summary_metrics", Bool),
        ("disable_quota_utilization_metrics", Bool),
        ("disable_rpc_rate_metrics_labels", Bool),
        ("disable_allocation_hook_metrics", Bool),
        ("circonus_api_token", Str),
        ("circonus_api_app", Str),
        ("circonus_api_url", Str),
        ("circonus_submission_interval", Str),
        ("circonus_submission_url", Str),
        ("circonus_check_id", Str),
        ("circonus_check_force_metric_activation", Str),
        ("circonus_check_instance_id", Str),
        ("circonus_check_search_tag", Str),
        ("circonus_check_tags", Str),
        ("circonus_check_display_name", Str),
        ("circonus_broker_id", Str),
        ("circonus_broker_select_tag", Str),
    ],
};
