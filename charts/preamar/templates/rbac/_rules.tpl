{{- /* What each part may do: each verb is used, and no Secret can be read. Namespaced rules and
cluster-wide ones are apart, so that one namespace can be served with rights in no other. */ -}}
{{- define "preamar.rules.operator" -}}
- apiGroups: [preamar.dev]
  resources: [inferenceservices, trainingjobs]
  verbs: [get, list, watch]
- apiGroups: [preamar.dev]
  resources: [inferenceservices/status, trainingjobs/status]
  verbs: [patch]
- apiGroups: [preamar.dev]
  resources: [inferenceservices/scale]
  verbs: [patch]
- apiGroups: [preamar.dev]
  # Where OwnerReferencesPermissionEnforcement is on, an owner that blocks deletion needs this.
  resources: [inferenceservices/finalizers, trainingjobs/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "preamar.rules.operatorCluster" -}}
- apiGroups: [preamar.dev]
  resources: [tenants]
  verbs: [get, list, watch]
- apiGroups: [preamar.dev]
  resources: [tenants/status]
  verbs: [patch]
{{- end -}}

{{- define "preamar.rules.gateway" -}}
- apiGroups: [preamar.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end -}}

{{- define "preamar.rules.gatewayCluster" -}}
- apiGroups: [preamar.dev]
  resources: [tenants]
  verbs: [get, list, watch]
{{- end -}}
