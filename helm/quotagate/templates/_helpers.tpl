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
{{- else if .Values.config }}
{{- include "quotagate.fullname" . }}
{{- end }}
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
{{- if not .Values.allowUnauthenticated -}}
{{- fail "callers are not identified yet, so whoever reaches the service may spend quota and change limits: say allowUnauthenticated=true, and let networkPolicy.clients name who may connect" -}}
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
