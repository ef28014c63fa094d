//! What one file shows by itself, word for word.

use super::assert_parse_says;

#[test]
fn all_faults_of_a_file_come_at_once() {
    assert_parse_says(
        "\
apiVersion: v1
kind: Secret
metadata:
  name: webpod
---
apiVersion: v1
kind: Pod
metadata:
  name: Curl_Pod
  labels:
    app: a;b
spec:
  containers:
  - name: curl
    image: traefik/whoamy
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: webpod
spec:
  selector:
    matchLabels:
      app: webpod
  template:
    metadata:
      labels:
        app: web
    spec:
      containers:
      - name: webpod
        image: nginx
",
        "\
error: kind `Secret` is not available yet
 --> lab.yaml:2:7
  |
2 | kind: Secret
  |       ^^^^^^
  |
  = help: labctl has Pod, Deployment, DaemonSet, Service, ConfigMap, ServiceAccount, CiliumLocalRedirectPolicy, CiliumLoadBalancerIPPool, CiliumL2AnnouncementPolicy, List

error: `Curl_Pod` cannot be the name of an object
 --> lab.yaml:9:9
  |
9 |   name: Curl_Pod
  |         ^^^^^^^^
  |
  = help: use lower case letters, digits, `-` and `.`, with a letter or digit at each end of every part

error: `a;b` cannot be a label's value
  --> lab.yaml:11:10
   |
11 |     app: a;b
   |          ^^^
   |
   = help: a label's value has at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at each end

error: labctl has no built-in workload for the image `traefik/whoamy`
  --> lab.yaml:15:12
   |
15 |     image: traefik/whoamy
   |            ^^^^^^^^^^^^^^
   |
   = help: did you mean `traefik/whoami`?

error: the selector does not match the template's labels
  --> lab.yaml:22:3
   |
22 |   selector:
   |   ^^^^^^^^ the object would never find its own pods
...
27 |       labels:
   |       ------ the labels
",
    );
}

#[test]
fn unknown_and_unavailable_fields() {
    assert_parse_says(
        "\
apiVersion: v1
kind: Pod
metadata:
  name: curl-pod
spec:
  nodename: k8s-ctr
  hostPID: true
  dnsPolicy: None
  containers:
  - name: curl
    image: nicolaka/netshoot
    port: 80
",
        "\
error: unknown key `nodename` in `spec`
 --> lab.yaml:6:3
  |
6 |   nodename: k8s-ctr
  |   ^^^^^^^^
  |
  = help: did you mean `nodeName`?

error: `spec.hostPID` is not available yet
 --> lab.yaml:7:3
  |
7 |   hostPID: true
  |   ^^^^^^^

error: `spec.dnsPolicy` cannot be `None`
 --> lab.yaml:8:14
  |
8 |   dnsPolicy: None
  |              ^^^^
  |
  = help: it is one of `ClusterFirst`, `Default`

error: unknown key `port` in `spec.containers[0]`
  --> lab.yaml:12:5
   |
12 |     port: 80
   |     ^^^^
   |
   = help: did you mean `ports`?
",
    );
}

#[test]
fn kinds_versions_and_numbers() {
    assert_parse_says(
        "\
kind: Pood
---
apiVersion: v1
kind: Deployment
---
kind: Pod
---
metadata: {name: x}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: -1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: nginx, ports: [{containerPort: 70000}]}]
",
        "\
error: unknown kind `Pood`
 --> lab.yaml:1:7
  |
1 | kind: Pood
  |       ^^^^
  |
  = help: did you mean `Pod`?

error: a Deployment cannot have the apiVersion `v1`
 --> lab.yaml:3:13
  |
3 | apiVersion: v1
  |             ^^
  |
  = help: write `apps/v1`

error: the Pod has no apiVersion
 --> lab.yaml:6:7
  |
6 | kind: Pod
  |       ^^^
  |
  = help: write `apiVersion: v1`

error: the object has no kind
 --> lab.yaml:8:1
  |
8 | metadata: {name: x}
  | ^^^^^^^^^^^^^^^^^^^
  |
  = help: every object has an apiVersion and a kind: Pod, Deployment, DaemonSet, Service, ConfigMap, ServiceAccount, CiliumLocalRedirectPolicy, CiliumLoadBalancerIPPool, CiliumL2AnnouncementPolicy, List

error: `spec.replicas` must be between 0 and 2147483647, not -1
  --> lab.yaml:14:13
   |
14 |   replicas: -1
   |             ^^

error: `spec.template.spec.containers[0].ports[0].containerPort` must be between 1 and 65535, not 70000
  --> lab.yaml:19:70
   |
19 |       containers: [{name: web, image: nginx, ports: [{containerPort: 70000}]}]
   |                                                                      ^^^^^
",
    );
}

#[test]
fn commands_that_a_workload_does_not_run() {
    assert_parse_says(
        "\
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - {name: a, image: nicolaka/netshoot, command: [iperf3, -s]}
---
apiVersion: v1
kind: Pod
metadata: {name: b}
spec:
  containers:
  - {name: b, image: traefik/whoami, args: [--port, eighty]}
---
apiVersion: v1
kind: Pod
metadata: {name: c}
spec:
  containers:
  - {name: c, image: nginx, args: [-t]}
",
        "\
error: nicolaka/netshoot only waits here; it does not run `iperf3 -s`
 --> lab.yaml:6:41
  |
6 |   - {name: a, image: nicolaka/netshoot, command: [iperf3, -s]}
  |                                         ^^^^^^^
  |
  = help: leave the command out and use `labctl exec`

error: --port must be a number between 1 and 65535, not `eighty`
  --> lab.yaml:13:45
   |
13 |   - {name: b, image: traefik/whoami, args: [--port, eighty]}
   |                                             ^^^^^^

error: nginx takes no other command or arguments here
  --> lab.yaml:20:29
   |
20 |   - {name: c, image: nginx, args: [-t]}
   |                             ^^^^
",
    );
}

#[test]
fn faults_of_form_and_of_meaning_come_together_and_none_follows_from_another() {
    assert_parse_says(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: Web}
spec:
  replica: 3
  selector: {matchLabels: {app: 7}}
  template:
    metadata: {labels: {app: 7}}
    spec:
      containers: [{name: web, image: nginy}]
",
        "\
error: `Web` cannot be the name of an object
 --> lab.yaml:3:18
  |
3 | metadata: {name: Web}
  |                  ^^^
  |
  = help: use lower case letters, digits, `-` and `.`, with a letter or digit at each end of every part

error: unknown key `replica` in `spec`
 --> lab.yaml:5:3
  |
5 |   replica: 3
  |   ^^^^^^^
  |
  = help: did you mean `replicas`?

error: `spec.selector.matchLabels.app` must be text, not a number
 --> lab.yaml:6:33
  |
6 |   selector: {matchLabels: {app: 7}}
  |                                 ^
  |
  = help: quote it to make it text

error: `spec.template.metadata.labels.app` must be text, not a number
 --> lab.yaml:8:30
  |
8 |     metadata: {labels: {app: 7}}
  |                              ^
  |
  = help: quote it to make it text

error: labctl has no built-in workload for the image `nginy`
  --> lab.yaml:10:39
   |
10 |       containers: [{name: web, image: nginy}]
   |                                       ^^^^^
   |
   = help: did you mean `nginx`?
",
    );
}

#[test]
fn items_of_a_list_are_objects() {
    assert_parse_says(
        "\
apiVersion: v1
kind: List
itemz: []
items:
- apiVersion: v1
  kind: Secret
- apiVersion: v1
  kind: Pod
  metadata: {name: web}
  spec:
    containers: [{name: web, image: nginx, imge: x}]
",
        "\
error: unknown key `itemz`
 --> lab.yaml:3:1
  |
3 | itemz: []
  | ^^^^^
  |
  = help: did you mean `items`?

error: kind `Secret` is not available yet
 --> lab.yaml:6:9
  |
6 |   kind: Secret
  |         ^^^^^^
  |
  = help: labctl has Pod, Deployment, DaemonSet, Service, ConfigMap, ServiceAccount, CiliumLocalRedirectPolicy, CiliumLoadBalancerIPPool, CiliumL2AnnouncementPolicy, List

error: unknown key `imge` in `spec.containers[0]`
  --> lab.yaml:11:44
   |
11 |     containers: [{name: web, image: nginx, imge: x}]
   |                                            ^^^^
   |
   = help: did you mean `image`?
",
    );
}
