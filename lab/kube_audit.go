package lab

import (
	"os"
	"path/filepath"
)

// auditPolicy has the API server write down who of the pods asked for what, and
// whether it was allowed. Whatever Kubernetes' own parts ask is left out.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
`

func (p paths) auditPolicy() string { return p.kube("audit-policy.yaml") }

// auditLog does not end in .log: what does is a program's own.
func (p paths) auditLog() string { return p.kube("log", "audit.jsonl") }

// AuditLog is the file with the API server's audit of what pods ask of it: one
// event of audit.k8s.io/v1 a line, at level Metadata. It grows as long as the
// cluster lives.
func (l *Lab) AuditLog() string { return l.paths.auditLog() }

func (l *Lab) ensureAuditPolicy() error {
	if err := os.MkdirAll(filepath.Dir(l.paths.auditPolicy()), 0o755); err != nil {
		return err
	}
	return writeFile(l.paths.auditPolicy(), []byte(auditPolicy), 0o644)
}
