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

{{/* The operator, as admission sees it. */}}
{{- define "savepoint.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "savepoint.name" . }}
{{- end -}}

{{- define "savepoint.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest | quote }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) | quote }}
{{- end -}}
{{- end -}}

{{- define "savepoint.args" -}}
{{- $operator := .Values.operator -}}
- --store-root=/var/lib/savepoint
- --listen=0.0.0.0:8080
- --log-format={{ $operator.logFormat }}
{{- with $operator.logFilter }}
- --log-filter={{ . }}
{{- end }}
- --observe-interval={{ $operator.observeInterval }}
- --poll-interval={{ $operator.pollInterval }}
- --call-deadline={{ $operator.callDeadline }}
- --settle-slack={{ $operator.settleSlack }}
- --probe-window={{ $operator.probeWindow }}
- --lease-duration={{ $operator.leaseDuration }}
{{- if .Values.encryption.existingSecret }}
- --identity-file=/etc/savepoint/identity/{{ .Values.encryption.key }}
{{- end }}
{{- range $platform, $url := $operator.platformUrls }}
- {{ printf "--platform-url=%s=%s" $platform $url | quote }}
{{- end }}
{{- range $platform, $hosts := $operator.allowedEndpoints }}
{{- range $hosts }}
- {{ printf "--allow-endpoint=%s=%s" $platform . | quote }}
{{- end }}
{{- end }}
{{- range $operator.allowedCidrs }}
- {{ printf "--allow-cidr=%s" . | quote }}
{{- end }}
{{- end -}}
