{{/*
A tree of values as TOML. Helm's own toToml writes whole numbers as floats, since that is how values are read.
*/}}

{{/* A table: {table, path}. Plain values first, then tables with their heads. */}}
{{- define "slotway.toml" -}}
{{- $path := .path -}}
{{- $table := .table -}}
{{- range $key := keys $table | sortAlpha }}
{{- $value := get $table $key }}
{{- if not (or (kindIs "invalid" $value) (kindIs "map" $value) (include "slotway.isTables" $value)) }}
{{ include "slotway.tomlKey" $key }} = {{ include "slotway.tomlValue" $value }}
{{- end }}
{{- end }}
{{- range $key := keys $table | sortAlpha }}
{{- $value := get $table $key }}
{{- $name := printf "%s%s" (ternary "" (printf "%s." $path) (eq $path "")) (include "slotway.tomlKey" $key) }}
{{- if kindIs "map" $value }}

[{{ $name }}]
{{- include "slotway.toml" (dict "table" $value "path" $name) }}
{{- else if include "slotway.isTables" $value }}
{{- range $item := $value }}

[[{{ $name }}]]
{{- include "slotway.toml" (dict "table" $item "path" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Something where the value is a list of tables, which can't be empty. */}}
{{- define "slotway.isTables" -}}
{{- if and (kindIs "slice" .) . -}}
{{- if kindIs "map" (first .) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{- define "slotway.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{/* JSON's texts are TOML's; whole numbers are written as such, however large. */}}
{{- define "slotway.tomlValue" -}}
{{- if kindIs "string" . -}}
{{- toJson . -}}
{{- else if kindIs "bool" . -}}
{{- . -}}
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . }}{{ printf "%.0f" . }}{{ else }}{{ printf "%v" . }}{{ end -}}
{{- else if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "slotway.tomlValue" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{ range $index, $key := keys . | sortAlpha }}{{ if $index }}, {{ end }}{{ include "slotway.tomlKey" $key }} = {{ include "slotway.tomlValue" (get $ $key) }}{{ end }} }
{{- else -}}
{{- printf "%v" . -}}
{{- end -}}
{{- end -}}
