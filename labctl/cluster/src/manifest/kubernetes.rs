//! The shapes of the Kubernetes objects that labctl obeys.
//!
//! Each type has the fields that make a difference in a lab. The others that
//! Kubernetes has are listed beside it: `without_effect` are accepted, since a
//! lab behaves the same with and without them; `not_yet` would make a
//! difference, and are refused by name. Anything else is misspelt.

mod cilium;
mod service;
mod volume;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use cilium::{
    Block, L2AnnouncementPolicy, LoadBalancerIpPool, LocalRedirectPolicy, PortInfo, PortProtocol,
    RedirectFrontend, YesNo,
};
pub(super) use service::{
    IntOrString, Service, ServicePort, ServiceSpec, ServiceType, SessionAffinity, TrafficPolicy,
};
pub(super) use volume::{ConfigMap, ServiceAccount, Volume, VolumeMount};

/// Completes the schema of a type with the fields that Kubernetes has besides.
fn fields(schema: &mut Schema, without_effect: &[&str], not_yet: &[&str]) {
    let properties = schema
        .ensure_object()
        .entry("properties")
        .or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(
            without_effect
                .iter()
                .map(|&field| (field.to_owned(), Value::Bool(true))),
        );
    }
    schema.insert("additionalProperties".to_owned(), Value::Bool(false));
    schema.insert("x-not-yet".to_owned(), json!(not_yet));
}

/// `v1` Pod.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(super) struct Pod {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: PodSpec,
}

/// `apps/v1` Deployment.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(super) struct Deployment {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: DeploymentSpec,
}

/// `apps/v1` DaemonSet.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_fields)]
pub(super) struct DaemonSet {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: DaemonSetSpec,
}

fn object_fields(schema: &mut Schema) {
    fields(schema, &["apiVersion", "kind", "status"], &[]);
}

/// `v1` List: what `kubectl get -o yaml` writes. Its items are objects of their
/// own, and read as such.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = list_fields)]
pub(super) struct List {
    #[serde(rename = "items")]
    _items: Vec<Value>,
}

fn list_fields(schema: &mut Schema) {
    fields(schema, &["apiVersion", "kind", "metadata"], &[]);
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = object_meta_fields)]
pub(super) struct ObjectMeta {
    pub(super) name: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) annotations: Option<BTreeMap<String, String>>,
}

fn object_meta_fields(schema: &mut Schema) {
    fields(schema, META_WITHOUT_EFFECT, &["generateName"]);
}

const META_WITHOUT_EFFECT: &[&str] = &[
    "creationTimestamp",
    "finalizers",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = deployment_spec_fields)]
pub(super) struct DeploymentSpec {
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub(super) replicas: Option<u32>,
    pub(super) selector: LabelSelector,
    pub(super) template: PodTemplateSpec,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = daemon_set_spec_fields)]
pub(super) struct DaemonSetSpec {
    pub(super) selector: LabelSelector,
    pub(super) template: PodTemplateSpec,
}

fn daemon_set_spec_fields(schema: &mut Schema) {
    let without_effect = ["minReadySeconds", "revisionHistoryLimit", "updateStrategy"];
    fields(schema, &without_effect, &[]);
}

fn deployment_spec_fields(schema: &mut Schema) {
    // Pods are replaced at once, so that nothing about a rollout matters.
    let without_effect = [
        "minReadySeconds",
        "progressDeadlineSeconds",
        "revisionHistoryLimit",
        "strategy",
    ];
    fields(schema, &without_effect, &["paused"]);
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = pod_template_fields)]
pub(super) struct PodTemplateSpec {
    #[serde(default)]
    pub(super) metadata: TemplateMeta,
    pub(super) spec: PodSpec,
}

fn pod_template_fields(schema: &mut Schema) {
    fields(schema, &[], &[]);
}

/// `metadata` of a template, whose name and namespace mean nothing.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(transform = template_meta_fields)]
pub(super) struct TemplateMeta {
    #[serde(default)]
    pub(super) labels: Option<BTreeMap<String, String>>,
}

fn template_meta_fields(schema: &mut Schema) {
    let names = ["annotations", "name", "namespace", "generateName"];
    fields(schema, &[META_WITHOUT_EFFECT, &names].concat(), &[]);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = label_selector_fields)]
pub(super) struct LabelSelector {
    #[serde(default)]
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) match_expressions: Option<Vec<MatchExpression>>,
}

fn label_selector_fields(schema: &mut Schema) {
    fields(schema, &[], &[]);
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MatchExpression {
    pub(super) key: String,
    pub(super) operator: Operator,
    #[serde(default)]
    pub(super) values: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub(super) enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = pod_spec_fields)]
pub(super) struct PodSpec {
    #[serde(default)]
    pub(super) node_name: Option<String>,
    #[serde(default)]
    pub(super) service_account_name: Option<String>,
    #[serde(default)]
    pub(super) affinity: Option<Affinity>,
    #[serde(default)]
    pub(super) dns_policy: Option<DnsPolicy>,
    #[serde(default)]
    pub(super) host_network: Option<bool>,
    #[serde(default)]
    pub(super) hostname: Option<String>,
    #[serde(default)]
    pub(super) subdomain: Option<String>,
    #[serde(default)]
    pub(super) node_selector: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) containers: Vec<Container>,
}

fn pod_spec_fields(schema: &mut Schema) {
    let without_effect = [
        "automountServiceAccountToken",
        "enableServiceLinks",
        "hostUsers",
        "imagePullSecrets",
        "os",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "resources",
        // Workloads run until they are told to stop.
        "restartPolicy",
        "securityContext",
        "shareProcessNamespace",
        "terminationGracePeriodSeconds",
        // Nodes of a lab have no taints.
        "tolerations",
    ];
    let not_yet = [
        "activeDeadlineSeconds",
        "dnsConfig",
        "ephemeralContainers",
        "hostAliases",
        "hostIPC",
        "hostPID",
        "initContainers",
        "readinessGates",
        "resourceClaims",
        "runtimeClassName",
        "schedulerName",
        "schedulingGates",
        "serviceAccount",
        "setHostnameAsFQDN",
        "topologySpreadConstraints",
    ];
    fields(schema, &without_effect, &not_yet);
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(extend("x-not-yet" = ["ClusterFirstWithHostNet", "None"]))]
pub(super) enum DnsPolicy {
    ClusterFirst,
    Default,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = affinity_fields)]
pub(super) struct Affinity {
    #[serde(default)]
    pub(super) pod_anti_affinity: Option<PodAntiAffinity>,
}

fn affinity_fields(schema: &mut Schema) {
    fields(schema, &[], &["nodeAffinity", "podAffinity"]);
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = pod_anti_affinity_fields)]
pub(super) struct PodAntiAffinity {
    #[serde(default, rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub(super) required: Option<Vec<PodAffinityTerm>>,
}

fn pod_anti_affinity_fields(schema: &mut Schema) {
    // A wish, which placement grants a Deployment's own pods in any case.
    fields(
        schema,
        &["preferredDuringSchedulingIgnoredDuringExecution"],
        &[],
    );
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = pod_affinity_term_fields)]
pub(super) struct PodAffinityTerm {
    #[serde(default)]
    pub(super) label_selector: Option<LabelSelector>,
    pub(super) topology_key: String,
}

fn pod_affinity_term_fields(schema: &mut Schema) {
    let not_yet = [
        "matchLabelKeys",
        "mismatchLabelKeys",
        "namespaceSelector",
        "namespaces",
    ];
    fields(schema, &[], &not_yet);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = container_fields)]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: String,
    #[serde(default)]
    pub(super) command: Option<Vec<String>>,
    #[serde(default)]
    pub(super) args: Option<Vec<String>>,
    /// Their names are what services can call them; where a workload listens is
    /// decided by the image and its arguments alone, as in Kubernetes.
    #[serde(default)]
    pub(super) ports: Option<Vec<ContainerPort>>,
    #[serde(default)]
    pub(super) volume_mounts: Option<Vec<VolumeMount>>,
}

fn container_fields(schema: &mut Schema) {
    let without_effect = [
        "imagePullPolicy",
        "livenessProbe",
        "readinessProbe",
        "resizePolicy",
        "resources",
        "restartPolicy",
        "securityContext",
        "startupProbe",
        "stdin",
        "stdinOnce",
        "terminationMessagePath",
        "terminationMessagePolicy",
        "tty",
        "workingDir",
    ];
    let not_yet = ["env", "envFrom", "lifecycle", "volumeDevices"];
    fields(schema, &without_effect, &not_yet);
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = container_port_fields)]
pub(super) struct ContainerPort {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[schemars(range(min = 1, max = 65_535))]
    pub(super) container_port: u16,
    #[serde(default)]
    pub(super) protocol: Option<Protocol>,
}

fn container_port_fields(schema: &mut Schema) {
    fields(schema, &[], &["hostIP", "hostPort"]);
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}
