{{/* (root, entry): what ExternalDNS has to know of an entry's Service. */}}
{{- define "slotway.entryAnnotations" -}}
{{- $root := index . 0 -}}
{{- $entry := index . 1 -}}
{{- $dns := $root.Values.externalDNS -}}
{{- $weight := include "slotway.weight" $entry -}}
{{- /* Without weights there is nothing that keeps an entry out of the set but not to be named. */ -}}
{{- if or $dns.weighted (not $entry.drain) (include "slotway.allDrain" $root) -}}
external-dns.alpha.kubernetes.io/hostname: {{ $root.Values.fleet.name | quote }}
external-dns.alpha.kubernetes.io/ttl: {{ $dns.ttl | quote }}
{{- if $dns.weighted }}
external-dns.alpha.kubernetes.io/set-identifier: {{ $entry.id | quote }}
external-dns.alpha.kubernetes.io/{{ $dns.weightProperty | replace "/" "-" }}: {{ $weight | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* An entry's weight: nobody is sent to one that drains. */}}
{{- define "slotway.weight" -}}
{{- if .drain -}}0{{- else -}}{{- int (ternary .weight 100 (hasKey . "weight")) -}}{{- end -}}
{{- end -}}

{{/* Something where all entries drain: then all are answered, since none is worse than one that goes. */}}
{{- define "slotway.allDrain" -}}
{{- $all := true -}}
{{- range .Values.fleet.entries -}}{{- if not .drain -}}{{- $all = false -}}{{- end -}}{{- end -}}
{{- if $all -}}yes{{- end -}}
{{- end -}}
