{{/* What the proxies and the follower have in common: the settings, and the secrets that they name. */}}

{{- define "slotway.mounts" -}}
# Whole folders, no subPath: only these are renewed when what they show changes.
- name: settings
  mountPath: /etc/slotway/settings
  readOnly: true
{{- if .Values.backendPassword.secretName }}
- name: backend-password
  mountPath: /etc/slotway/backend
  readOnly: true
{{- end }}
{{- if .Values.tls.secretName }}
- name: tls
  mountPath: /etc/slotway/tls
  readOnly: true
{{- end }}
{{- range .Values.secrets }}
- name: secret-{{ .name }}
  mountPath: /etc/slotway/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "slotway.volumes" -}}
- name: settings
  configMap:
    name: {{ include "slotway.fullname" . }}
{{- with .Values.backendPassword }}
{{- if .secretName }}
- name: backend-password
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      - key: {{ .key }}
        path: {{ .key }}
{{- end }}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- range .Values.secrets }}
- name: secret-{{ .name }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
{{- end }}
{{- end -}}
