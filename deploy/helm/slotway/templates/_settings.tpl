{{/* The settings file: what the operator gave, and over it what follows from the chart's own values. */}}
{{- define "slotway.settings" -}}
{{- $values := .Values -}}
{{- $settings := deepCopy $values.settings -}}
{{- $cluster := default (dict) $settings.cluster -}}
{{- range $key := list "listen" "admin" "leave_delay" "grace_period" -}}
{{- if hasKey $settings $key -}}{{- fail (printf "settings.%s can't be given: the chart writes it" $key) -}}{{- end -}}
{{- end -}}
{{- range $key := list "name" "port" "entries" "proxy_protocol" -}}
{{- if hasKey (default (dict) $settings.fleet) $key -}}{{- fail (printf "settings.fleet.%s can't be given: see fleet" $key) -}}{{- end -}}
{{- end -}}
{{- $own := default (dict) $settings.fleet -}}
{{- if and (or $own.rfc2136 $own.responder) (ne $values.externalDNS.mode "off") -}}
{{- fail "settings.fleet and externalDNS.mode would both say what the same name is" -}}
{{- end -}}
{{- if not (or $cluster.seeds $cluster.standalone $cluster.shards $settings.clusters) -}}
{{- fail "settings.cluster must have seeds, standalone or shards: what stands behind the proxies" -}}
{{- end -}}

{{- $listen := list -}}
{{- if $values.plain -}}{{- $listen = include "slotway.addresses" (list . $values.ports.redis) | fromJsonArray -}}{{- end -}}
{{- $fleet := include "slotway.fleet" . | fromJson -}}
{{- if not $fleet.entries -}}
{{- range $values.fleet.entries -}}{{- if not $values.tls.entries -}}
{{- $listen = concat $listen (include "slotway.addresses" (list $ .containerPort) | fromJsonArray) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- $_ := set $settings "listen" (ternary $listen "off" (gt (len $listen) 0)) -}}
{{- $_ = set $settings "admin" (include "slotway.addresses" (list . $values.ports.admin) | fromJsonArray | first) -}}
{{- $_ = set $settings "leave_delay" (printf "%ds" (int $values.shutdown.leaveSeconds)) -}}
{{- $_ = set $settings "grace_period" (printf "%ds" (int $values.shutdown.graceSeconds)) -}}

{{- if $values.backendPassword.secretName -}}
{{- $_ = set $settings "cluster" (merge (dict "password_file" (printf "/etc/slotway/backend/%s" $values.backendPassword.key)) $cluster) -}}
{{- end -}}
{{- if $values.tls.secretName -}}
{{- $tls := dict "listen" (include "slotway.tlsListen" . | fromJsonArray) "certificate" "/etc/slotway/tls/tls.crt" "key" "/etc/slotway/tls/tls.key" -}}
{{- $_ = set $settings "tls" (merge $tls (default (dict) $settings.tls)) -}}
{{- else if or $values.tls.entries (not $values.plain) -}}
{{- fail "tls.secretName must be given where tls.entries is true or plain is false" -}}
{{- end -}}
{{- if $fleet.entries -}}
{{- $_ = set $settings "fleet" (merge $fleet (default (dict) $settings.fleet)) -}}
{{- else -}}
{{- $_ = unset $settings "fleet" -}}
{{- end -}}
{{- include "slotway.toml" (dict "table" $settings "path" "") | trim -}}
{{- end -}}

{{/* (root, port): where to listen, as JSON. */}}
{{- define "slotway.addresses" -}}
{{- $port := int (index . 1) -}}
{{- $addresses := list -}}
{{- range (index . 0).Values.listenHosts -}}{{- $addresses = append $addresses (printf "%s:%d" . $port) -}}{{- end -}}
{{- toJson $addresses -}}
{{- end -}}

{{- define "slotway.tlsListen" -}}
{{- $listen := include "slotway.addresses" (list . .Values.ports.rediss) | fromJsonArray -}}
{{- if .Values.tls.entries -}}
{{- $listen = concat $listen (include "slotway.addresses" (list . .Values.ports.entriesTls) | fromJsonArray) -}}
{{- end -}}
{{- toJson $listen -}}
{{- end -}}

{{/* The section [fleet] as JSON; empty until each entry has addresses. */}}
{{- define "slotway.fleet" -}}
{{- $root := . -}}
{{- $fleet := .Values.fleet -}}
{{- if and .Values.tls.entries (not $fleet.proxyProtocol) -}}
{{- fail "tls.entries needs fleet.proxyProtocol: all entries lead to one port, and only the header tells them apart" -}}
{{- end -}}
{{- $entries := list -}}
{{- $known := true -}}
{{- $ports := list -}}
{{- range $_, $port := .Values.ports -}}
{{- if has (int $port) $ports -}}{{- fail (printf "ports: %d stands more than once" (int $port)) -}}{{- end -}}
{{- $ports = append $ports (int $port) -}}
{{- end -}}
{{- range .Values.extraPorts -}}
{{- if ne (default "TCP" .protocol) "UDP" -}}
{{- if has (int .containerPort) $ports -}}{{- fail (printf "extraPorts: containerPort %d stands more than once" (int .containerPort)) -}}{{- end -}}
{{- $ports = append $ports (int .containerPort) -}}
{{- end -}}
{{- end -}}
{{- $ids := list -}}
{{- $headers := list -}}
{{- range $fleet.entries -}}
{{- if has (int .containerPort) $ports -}}{{- fail (printf "fleet.entries: containerPort %d stands more than once" (int .containerPort)) -}}{{- end -}}
{{- if has .id $ids -}}{{- fail (printf "fleet.entries: id %s stands more than once" .id) -}}{{- end -}}
{{- $ports = append $ports (int .containerPort) -}}
{{- $ids = append $ids .id -}}
{{- if not .addresses -}}{{- $known = false -}}{{- end -}}
{{- $entry := dict "id" .id "addresses" .addresses "cap" .cap "drain" (default false .drain) -}}
{{- if .host -}}{{- $_ := set $entry "host" .host -}}{{- end -}}
{{- if .maxConnections -}}{{- $_ := set $entry "max_connections" .maxConnections -}}{{- end -}}
{{- if not $root.Values.tls.entries -}}
{{- $addresses := include "slotway.addresses" (list $root .containerPort) | fromJsonArray -}}
{{- $_ := set $entry "listen" $addresses -}}
{{- $headers = concat $headers $addresses -}}
{{- end -}}
{{- $entries = append $entries $entry -}}
{{- end -}}
{{- if .Values.tls.entries -}}{{- $headers = include "slotway.addresses" (list . .Values.ports.entriesTls) | fromJsonArray -}}{{- end -}}
{{- if $known -}}
{{- $section := dict "name" $fleet.name "port" $fleet.port "entries" $entries -}}
{{- if $fleet.proxyProtocol -}}{{- $_ := set $section "proxy_protocol" $headers -}}{{- end -}}
{{- toJson $section -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}
