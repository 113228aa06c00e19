{{- define "savepoint.name" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- define "savepoint.selector" -}}
app.kubernetes.io/name: savepoint
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}
{{- define "savepoint.labels" -}}
{{ include "savepoint.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}
{{- define "savepoint.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "savepoint.name" . }}
{{- end -}}
