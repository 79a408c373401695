{{- /* What each part may do: each verb is used, and no Secret can be read. Children are written by
server-side apply, which is create and patch; most go with their owner, so few are ever deleted. */ -}}
{{- define "preamar.rules.operator" -}}
- apiGroups: [preamar.dev]
  resources: [inferenceservices]
  verbs: [get, list, watch]
- apiGroups: [preamar.dev]
  # Delete is for ttlSecondsAfterFinished.
  resources: [trainingjobs]
  verbs: [get, list, watch, delete]
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
- apiGroups: [apps]
  # A group's workers: they go with their leader, whose pod owns them.
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  # Patch is for pod-deletion-cost: which pods go when there are to be fewer.
  resources: [pods]
  verbs: [list, watch, patch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [get, create, patch]
{{- end -}}

{{- define "preamar.rules.gateway" -}}
- apiGroups: [preamar.dev]
  resources: [inferenceservices]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}

{{- /* What no namespace has: whatever namespace is served, tenants are the cluster's. */ -}}
{{- define "preamar.clusterRules.operator" -}}
- apiGroups: [preamar.dev]
  resources: [tenants]
  verbs: [list, watch]
- apiGroups: [preamar.dev]
  resources: [tenants/status]
  verbs: [patch]
{{- end -}}

{{- define "preamar.clusterRules.gateway" -}}
- apiGroups: [preamar.dev]
  resources: [tenants]
  verbs: [list, watch]
{{- end -}}

{{- /* In the installation's own namespace, whatever namespace is served. */ -}}
{{- define "preamar.ownRules.operator" -}}
- apiGroups: [coordination.k8s.io]
  # Create cannot be limited to a name.
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [preamar-operator]
  verbs: [get, update]
{{- end -}}

{{- define "preamar.ownRules.gateway" -}}
- apiGroups: [discovery.k8s.io]
  # Where the operators are, to whom demand is reported.
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}
