{{/* Values of flannel's own chart that would do nothing here, or something else than there. */}}
{{- define "flannel.refuse" -}}
{{- if .Values.netpol.enabled -}}
{{- fail "netpol.enabled is not part of this chart: install kube-network-policies by its own manifest, and set it to false." -}}
{{- end -}}
{{- if .Values.flannel.flannel_cni -}}
{{- fail "flannel.flannel_cni has no meaning here: flannel.image has the plugins as well. Leave it out." -}}
{{- end -}}
{{- if contains "flannel-io/flannel" .Values.flannel.image.repository -}}
{{- fail (printf "flannel.image.repository must be an image of flannel-cni (got %q), which has the plugins as well." .Values.flannel.image.repository) -}}
{{- end -}}
{{- if eq .Values.flannel.backend "udp" -}}
{{- fail "flannel.backend udp needs /dev/net/tun, which containers do not have: use vxlan or host-gw, or run flanneld on the nodes." -}}
{{- end -}}
{{- $backends := list "vxlan" "host-gw" "wireguard" "ipip" "extension" "alloc" -}}
{{- if not (has .Values.flannel.backend $backends) -}}
{{- fail (printf "flannel.backend must be one of %s (got %q): this flanneld has no other." (join ", " $backends) (toString .Values.flannel.backend)) -}}
{{- end -}}
{{- range $name := list "backendPortv6" "psk" "tunnelMode" "keepaliveInterval" -}}
{{- if and (index $.Values.flannel $name) (ne $.Values.flannel.backend "wireguard") -}}
{{- fail (printf "flannel.%s is an option of the backend wireguard (flannel.backend is %q). Leave it out." $name $.Values.flannel.backend) -}}
{{- end -}}
{{- end -}}
{{- range $name := list "vni" "GBP" "macPrefix" -}}
{{- if and (index $.Values.flannel $name) (ne $.Values.flannel.backend "vxlan") -}}
{{- fail (printf "flannel.%s is an option of the backend vxlan (flannel.backend is %q). Leave it out." $name $.Values.flannel.backend) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.flannel.directRouting (not (has .Values.flannel.backend (list "vxlan" "ipip"))) -}}
{{- fail (printf "flannel.directRouting is an option of the backends vxlan and ipip (flannel.backend is %q). Leave it out." .Values.flannel.backend) -}}
{{- end -}}
{{- range $name := list "backendPort" "mtu" -}}
{{- if and (index $.Values.flannel $name) (not (has $.Values.flannel.backend (list "vxlan" "wireguard"))) -}}
{{- fail (printf "flannel.%s is an option of the backends vxlan and wireguard (flannel.backend is %q). Leave it out." $name $.Values.flannel.backend) -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.podCidr .Values.podCidrv6) -}}
{{- fail "podCidr or podCidrv6 must be set: without them pods have no addresses." -}}
{{- end -}}
{{- end -}}

{{- define "flannel.image" -}}
{{ .Values.flannel.image.repository }}:{{ .Values.flannel.image.tag }}
{{- end -}}

{{- define "flannel.labels" -}}
app: flannel
k8s-app: flannel
tier: node
{{- end -}}

{{/* Nodes with Linux. */}}
{{- define "flannel.affinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - key: kubernetes.io/os
            operator: In
            values: ["linux"]
{{- end -}}

{{- define "flannel.netConf" -}}
{{- $flannel := .Values.flannel -}}
{{- $backend := dict "Type" $flannel.backend -}}
{{- $port := ternary "ListenPort" "Port" (eq $flannel.backend "wireguard") -}}
{{- range $name, $key := dict "backendPort" $port "backendPortv6" "ListenPortV6" "mtu" "MTU" "vni" "VNI" "keepaliveInterval" "PersistentKeepaliveInterval" -}}
{{- with index $flannel $name }}{{ $_ := set $backend $key (int .) }}{{ end -}}
{{- end -}}
{{- range $name, $key := dict "GBP" "GBP" "directRouting" "DirectRouting" "macPrefix" "MacPrefix" "psk" "PSK" -}}
{{- with index $flannel $name }}{{ $_ := set $backend $key . }}{{ end -}}
{{- end -}}
{{- /* flannel's own chart writes it as it is, so its values have the quotes in them. */ -}}
{{- with $flannel.tunnelMode }}{{ $_ := set $backend "Mode" (trimAll "\"" .) }}{{ end -}}
{{- $conf := dict "EnableNFTables" $flannel.enableNFTables "Backend" (merge $backend $flannel.backendOptions) -}}
{{- if .Values.podCidr }}{{ $_ := set $conf "Network" .Values.podCidr }}{{ else }}{{ $_ := set $conf "EnableIPv4" false }}{{ end -}}
{{- if .Values.podCidrv6 }}{{ $_ := merge $conf (dict "EnableIPv6" true "IPv6Network" .Values.podCidrv6) }}{{ end -}}
{{ toPrettyJson $conf }}
{{- end -}}
