{{- define "gwtm.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "gwtm.fullname" -}}
{{- $name := include "gwtm.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "gwtm.namespace" -}}
{{- .Values.global.namespace | default .Release.Namespace }}
{{- end }}

{{- define "gwtm.labels" -}}
app.kubernetes.io/name: {{ include "gwtm.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The enabled programs, as a JSON list of {name, image, args, resources}. */}}
{{- define "gwtm.programs" -}}
{{- $programs := list }}
{{- if .Values.listeners.enabled }}
{{- with .Values.listeners }}
{{- $programs = append $programs (dict "name" "ligo-listener" "image" .image "resources" .ligo.resources "args" (list "listen" "--topic" "igwn.gwalert")) }}
{{- $programs = append $programs (dict "name" "icecube-listener" "image" .image "resources" .icecube.resources "args" (list "listen" "--topic" "gcn.notices.icecube.lvk_nu_track_search")) }}
{{- end }}
{{- end }}
{{- if .Values.bridge.enabled }}
{{- with .Values.bridge }}
{{- $programs = append $programs (dict "name" "bridge" "image" .image "resources" .resources "args" list) }}
{{- end }}
{{- end }}
{{- toJson $programs }}
{{- end }}

{{- define "gwtm.secretName" -}}
{{- .Values.listeners.existingSecret | default (printf "%s-listener-secrets" (include "gwtm.fullname" .)) }}
{{- end }}

{{/* An environment variable from a key of the Secret: (list root NAME key optional). */}}
{{- define "gwtm.secretEnv" -}}
- name: {{ index . 1 }}
  valueFrom:
    secretKeyRef:
      name: {{ include "gwtm.secretName" (index . 0) }}
      key: {{ index . 2 }}
      {{- if index . 3 }}
      optional: true
      {{- end }}
{{- end }}

{{/* The environment of both listeners: (list root NAME). */}}
{{- define "gwtm.listenerEnv" -}}
{{- $root := index . 0 }}
{{- with $root.Values.listeners -}}
{{ include "gwtm.secretEnv" (list $root "KAFKA_CLIENT_ID" "kafka-client-id" false) }}
{{ include "gwtm.secretEnv" (list $root "KAFKA_CLIENT_SECRET" "kafka-client-secret" false) }}
{{- if or .api.base .api.host }}
- name: API_BASE
  value: {{ .api.base | default (printf "http://%s:%d%s" .api.host (int .api.port) .api.path) | quote }}
{{ include "gwtm.secretEnv" (list $root "API_TOKEN" "api-token" false) }}
{{- end }}
- name: STORAGE_BUCKET_SOURCE
  value: {{ .storage.type | quote }}
{{- if eq .storage.type "swift" }}
{{- with .storage.swift }}
- name: OS_AUTH_URL
  value: {{ .authUrl | quote }}
- name: OS_STORAGE_URL
  value: {{ .storageUrl | quote }}
{{ include "gwtm.secretEnv" (list $root "OS_USERNAME" "swift-username" false) }}
{{ include "gwtm.secretEnv" (list $root "OS_PASSWORD" "swift-password" false) }}
- name: OS_PROJECT_NAME
  value: {{ .projectName | quote }}
- name: OS_USER_DOMAIN_NAME
  value: {{ .userDomainName | default "Default" | quote }}
- name: OS_PROJECT_DOMAIN_NAME
  value: {{ .projectDomainName | default "Default" | quote }}
- name: OS_CONTAINER_NAME
  value: {{ .containerName | default "gwtreasuremap" | quote }}
{{- end }}
{{- else if eq .storage.type "s3" }}
{{- /* Optional: a role may provide credentials instead. */}}
{{ include "gwtm.secretEnv" (list $root "AWS_ACCESS_KEY_ID" "aws-access-key-id" true) }}
{{ include "gwtm.secretEnv" (list $root "AWS_SECRET_ACCESS_KEY" "aws-secret-access-key" true) }}
- name: AWS_DEFAULT_REGION
  value: {{ .storage.s3.region | quote }}
- name: AWS_BUCKET
  value: {{ .storage.s3.bucket | quote }}
{{- with .storage.s3.endpointUrl }}
- name: AWS_ENDPOINT_URL
  value: {{ . | quote }}
{{- end }}
{{- else if eq .storage.type "abfs" }}
- name: AZURE_ACCOUNT_NAME
  value: {{ .storage.abfs.accountName | quote }}
{{ include "gwtm.secretEnv" (list $root "AZURE_ACCOUNT_KEY" "azure-account-key" false) }}
{{- else }}
{{- fail (printf "listeners.storage.type: expected swift, s3 or abfs, found %q" .storage.type) }}
{{- end }}
- name: OBSERVING_RUN
  value: {{ .observingRun | default "O4" | quote }}
- name: DRY_RUN
  value: {{ .dryRun | quote }}
- name: WRITE_TO_STORAGE
  value: {{ .writeToStorage | quote }}
- name: VERBOSE
  value: {{ .verbose | quote }}
- name: LOG_FORMAT
  value: {{ .logging.format | default "json" | quote }}
- name: LOG_LEVEL
  value: {{ .logging.level | default "INFO" | quote }}
{{- with .kafka.offsetReset }}
- name: KAFKA_OFFSET_RESET
  value: {{ . | quote }}
{{- end }}
{{- with .kafka.groupId }}
- name: KAFKA_GROUP_ID
  value: {{ . | quote }}
{{- end }}
- name: PATH_TO_GALAXY_CATALOG_CONFIG
  value: {{ .galaxyCatalogConfig | default "/app/gal_catalog_config.ini" | quote }}
{{- with .catalogPath }}
- name: CATALOG_PATH
  value: {{ . | quote }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
