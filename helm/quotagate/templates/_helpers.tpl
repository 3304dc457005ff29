{{- define "quotagate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "quotagate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "quotagate.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "quotagate.nodes" -}}
{{- printf "%s-nodes" (include "quotagate.fullname" .) }}
{{- end }}

{{- define "quotagate.etcdName" -}}
{{- printf "%s-etcd" (include "quotagate.fullname" .) }}
{{- end }}

{{- define "quotagate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "quotagate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "quotagate.selector" -}}
app.kubernetes.io/name: {{ include "quotagate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- /* The names under which HTTP may write. */}}
{{- define "quotagate.hosts" -}}
{{- $name := include "quotagate.fullname" . -}}
{{- $in := printf "%s.%s" $name .Release.Namespace -}}
{{- join "," (concat (list $name $in (printf "%s.svc" $in) (printf "%s.svc.cluster.local" $in)) .Values.service.hosts) -}}
{{- end }}

{{- define "quotagate.peerSecret" -}}
{{- default (printf "%s-peer" (include "quotagate.fullname" .)) .Values.cluster.peerToken.existingSecret }}
{{- end }}

{{- define "quotagate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "quotagate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "quotagate.image" -}}
{{- $image := .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $image .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end }}

{{- define "quotagate.isCluster" -}}
{{- if eq .Values.store.type "etcd" }}true{{ end -}}
{{- end }}

{{- define "quotagate.configMap" -}}
{{- if .Values.existingConfigMap }}
{{- .Values.existingConfigMap }}
{{- else if or .Values.config (include "quotagate.auth" .) }}
{{- include "quotagate.fullname" . }}
{{- end }}
{{- end }}

{{- /* The section `auth` of the configuration file; nothing where nobody is asked for a name. */}}
{{- define "quotagate.auth" -}}
{{- $values := .Values.auth -}}
{{- $oidc := $values.oidc -}}
{{- with $values.kubernetes -}}
{{- if .enabled -}}
{{- $files := "/etc/quotagate-kubernetes" -}}
{{- $keys := "https://kubernetes.default.svc/openid/v1/jwks" -}}
{{- $issuer := dict "name" .name "issuer" .issuer "audiences" (list .audience) "jwks_uri" $keys "ca_file" (printf "%s/ca.crt" $files) "token_file" (printf "%s/token" $files) -}}
{{- $oidc = append $oidc $issuer -}}
{{- end -}}
{{- end -}}
{{- $auth := dict -}}
{{- if $values.certificates -}}{{- $_ := set $auth "certificates" true -}}{{- end -}}
{{- if $values.tokens -}}{{- $_ := set $auth "tokens" $values.tokens -}}{{- end -}}
{{- if $oidc -}}{{- $_ := set $auth "oidc" $oidc -}}{{- end -}}
{{- if $values.rules -}}{{- $_ := set $auth "rules" $values.rules -}}{{- end -}}
{{- if $values.limits -}}{{- $_ := set $auth "limits" $values.limits -}}{{- end -}}
{{- with $values.sessionKey -}}
{{- if .existingSecret -}}{{- $_ := set $auth "session_key_file" (printf "/etc/quotagate-session/%s" .key) -}}{{- end -}}
{{- end -}}
{{- if $auth -}}{{- toYaml $auth -}}{{- end -}}
{{- end }}

{{- /* True if callers must say who they are. */}}
{{- define "quotagate.isIdentified" -}}
{{- with .Values.auth -}}
{{- if or .certificates .tokens .oidc .kubernetes.enabled }}true{{ end -}}
{{- end -}}
{{- end }}

{{- /* The secrets with certificates: yours, or cert-manager's. */}}
{{- define "quotagate.tlsSecret" -}}
{{- default (printf "%s-tls" (include "quotagate.fullname" .)) .Values.tls.existingSecret }}
{{- end }}

{{- define "quotagate.peerTlsSecret" -}}
{{- default (printf "%s-peer-tls" (include "quotagate.fullname" .)) .Values.cluster.tls.existingSecret }}
{{- end }}

{{- define "quotagate.clientCASecret" -}}
{{- if .Values.tls.clientCA.existingSecret }}
{{- .Values.tls.clientCA.existingSecret }}
{{- else if and .Values.tls.certManager.enabled .Values.tls.certManager.clients }}
{{- include "quotagate.tlsSecret" . }}
{{- end }}
{{- end }}

{{- define "quotagate.clientCAKey" -}}
{{- ternary .Values.tls.clientCA.key .Values.tls.caKey (not (empty .Values.tls.clientCA.existingSecret)) }}
{{- end }}

{{- /* The name by which nodes know each other. */}}
{{- define "quotagate.peerName" -}}
{{- default (printf "%s.%s.svc" (include "quotagate.nodes" .) .Release.Namespace) .Values.cluster.tls.name }}
{{- end }}

{{- define "quotagate.hasPeerTls" -}}
{{- if and (include "quotagate.isCluster" .) .Values.cluster.tls.enabled }}true{{ end -}}
{{- end }}

{{- /* The store's address, as `quotagate serve --store` takes it. */}}
{{- define "quotagate.store" -}}
{{- $etcd := .Values.store.etcd -}}
{{- if eq .Values.store.type "file" -}}
file:/var/lib/quotagate
{{- else if $etcd.bundled.enabled -}}
{{- printf "etcd://%s:2379/%s" (include "quotagate.etcdName" .) $etcd.prefix -}}
{{- else -}}
{{- printf "%s://%s/%s" (ternary "etcds" "etcd" $etcd.tls.enabled) (join "," $etcd.endpoints) $etcd.prefix -}}
{{- end -}}
{{- end }}

{{- /* What would not work is refused here, in one sentence each. */}}
{{- define "quotagate.check" -}}
{{- $etcd := .Values.store.etcd -}}
{{- if eq .Values.store.type "etcd" -}}
{{- if and (not $etcd.endpoints) (not $etcd.bundled.enabled) -}}
{{- fail "store.etcd.endpoints is empty: name your etcd (--set store.etcd.endpoints={host:2379}), or take store.etcd.bundled.enabled=true for a trial, or store.type=file with replicaCount=1" -}}
{{- end -}}
{{- if and $etcd.endpoints $etcd.bundled.enabled -}}
{{- fail "store.etcd.endpoints and store.etcd.bundled.enabled exclude each other: take one of them back" -}}
{{- end -}}
{{- if and $etcd.tls.clientCertificate (not $etcd.tls.existingSecret) -}}
{{- fail "store.etcd.tls.clientCertificate needs store.etcd.tls.existingSecret, the secret that has the certificate and its key" -}}
{{- end -}}
{{- if and $etcd.bundled.enabled (or $etcd.tls.existingSecret $etcd.auth.user) -}}
{{- fail "store.etcd.bundled is for a trial and has neither TLS nor users: take store.etcd.tls.existingSecret and store.etcd.auth back" -}}
{{- end -}}
{{- if eq (empty .Values.cluster.peerToken.existingSecret) (not .Values.cluster.peerToken.generate) -}}
{{- fail "the nodes need a secret that they share: name it with cluster.peerToken.existingSecret (kubectl create secret generic quotagate-peer --from-literal=token=$(openssl rand -hex 32)), or say cluster.peerToken.generate=true where Helm itself installs (a render by GitOps would make another one each time)" -}}
{{- end -}}
{{- if ne (empty $etcd.auth.user) (empty $etcd.auth.existingSecret) -}}
{{- fail "store.etcd.auth needs both user and existingSecret (with the password), or neither" -}}
{{- end -}}
{{- else -}}
{{- if or (gt (int .Values.replicaCount) 1) .Values.autoscaling.enabled -}}
{{- fail "store.type=file is one process on one volume: set replicaCount=1 and leave autoscaling off, or take store.type=etcd" -}}
{{- end -}}
{{- if .Values.cluster.create -}}
{{- fail "cluster.create is for store.type=etcd: a file store needs no cluster" -}}
{{- end -}}
{{- if or $etcd.endpoints $etcd.bundled.enabled -}}
{{- fail "store.type=file does not use store.etcd: take its endpoints and bundled.enabled back, or set store.type=etcd" -}}
{{- end -}}
{{- end -}}
{{- $tls := .Values.tls -}}
{{- $identified := include "quotagate.isIdentified" . -}}
{{- if and $tls.certManager.enabled (not $tls.enabled) -}}
{{- fail "tls.certManager.enabled needs tls.enabled=true: its certificates would be shown to nobody" -}}
{{- end -}}
{{- if and $tls.existingSecret (not $tls.enabled) -}}
{{- fail "tls.existingSecret needs tls.enabled=true: its certificate would be shown to nobody" -}}
{{- end -}}
{{- if and $tls.clientCA.existingSecret (not $tls.enabled) -}}
{{- fail "tls.clientCA needs tls.enabled=true: callers show certificates only where the nodes show theirs" -}}
{{- end -}}
{{- if and $tls.enabled (eq (empty $tls.existingSecret) (not $tls.certManager.enabled)) -}}
{{- fail "tls.enabled needs a certificate: name its secret with tls.existingSecret, or say tls.certManager.enabled=true, and not both" -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuer.name) -}}
{{- fail "tls.certManager needs tls.certManager.issuer.name, the issuer of the certificates" -}}
{{- end -}}
{{- with .Values.cluster.tls -}}
{{- if and .enabled (ne $.Values.store.type "etcd") -}}
{{- fail "cluster.tls is for store.type=etcd: a file store has one node" -}}
{{- end -}}
{{- if and .enabled (eq (empty .existingSecret) (not $tls.certManager.enabled)) -}}
{{- fail "cluster.tls.enabled needs a certificate: name its secret with cluster.tls.existingSecret, or say tls.certManager.enabled=true, and not both" -}}
{{- end -}}
{{- if and .existingSecret (not .enabled) -}}
{{- fail "cluster.tls.existingSecret needs cluster.tls.enabled=true" -}}
{{- end -}}
{{- end -}}
{{- with .Values.auth -}}
{{- if and .certificates (not (include "quotagate.clientCASecret" $)) -}}
{{- fail "auth.certificates needs tls.clientCA.existingSecret (or tls.certManager.clients): without authorities no caller's certificate is believed" -}}
{{- end -}}
{{- if and .rules (not $identified) -}}
{{- fail "auth.rules are about nobody: add auth.tokens, auth.oidc, auth.kubernetes.enabled=true or auth.certificates=true" -}}
{{- end -}}
{{- if and $identified (not .rules) -}}
{{- fail "auth names identities and no auth.rules: nobody may do anything" -}}
{{- end -}}
{{- if and $.Values.existingConfigMap (or $identified .rules) -}}
{{- fail "auth and existingConfigMap exclude each other: write the section auth into the file of the ConfigMap" -}}
{{- end -}}
{{- if and .kubernetes.enabled $.Values.networkPolicy.enabled $.Values.networkPolicy.etcd (not $.Values.networkPolicy.egress) -}}
{{- fail "auth.kubernetes needs networkPolicy.egress beside networkPolicy.etcd: the nodes ask the API server for its keys (for example [{ipBlock: {cidr: 10.96.0.1/32}}])" -}}
{{- end -}}
{{- end -}}
{{- with .Values.tracing -}}
{{- if and .ca.existingSecret (not (hasPrefix "https://" .endpoint)) -}}
{{- fail "tracing.ca is for a collector with TLS: say https:// in tracing.endpoint, or take tracing.ca.existingSecret back" -}}
{{- end -}}
{{- if and .endpoint $.Values.networkPolicy.enabled $.Values.networkPolicy.etcd (not $.Values.networkPolicy.egress) -}}
{{- fail "tracing.endpoint needs networkPolicy.egress beside networkPolicy.etcd: the nodes send to the collector (for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: observability}}}])" -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.config "auth" -}}
{{- fail "write what config.auth has into auth, where the chart can see that it fits" -}}
{{- end -}}
{{- if not .Values.insecure -}}
{{- if not $tls.enabled -}}
{{- fail "nothing would be encrypted: say tls.enabled=true with tls.existingSecret or tls.certManager, or insecure=true, and let networkPolicy.clients name who may connect" -}}
{{- end -}}
{{- if and (not $identified) (not .Values.existingConfigMap) -}}
{{- fail "whoever connects could spend quota and change limits: say in auth who may do what, or insecure=true, and let networkPolicy.clients name who may connect" -}}
{{- end -}}
{{- if and (include "quotagate.isCluster" .) (not .Values.cluster.tls.enabled) -}}
{{- fail "nothing would be encrypted between the nodes: say cluster.tls.enabled=true (with cluster.tls.existingSecret, or tls.certManager), or insecure=true" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metrics) -}}
{{- fail "serviceMonitor.enabled needs networkPolicy.metrics, which says where Prometheus is (for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]): nobody else may scrape" -}}
{{- end -}}
{{- if and .Values.config .Values.existingConfigMap -}}
{{- fail "config and existingConfigMap exclude each other: take one of them back" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is greater than autoscaling.maxReplicas" -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (add 30 (int .Values.preStopSeconds)) -}}
{{- fail "terminationGracePeriodSeconds must be more than 30 s beyond preStopSeconds: a node gives its shards away in that time, and what it does not is held until its windows have passed" -}}
{{- end -}}
{{- end }}
