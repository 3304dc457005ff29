"""Checks rendered objects: objects.py KUBERNETES_VERSION FILE…

Each against the schema of that version, strictly, and every pod against the
restricted profile of Kubernetes' Pod Security Standards. Custom resources have no
schema in Kubernetes: their kinds are listed here.
"""

import sys
import warnings

import kubernetes_validate
import yaml

CUSTOM = {"ServiceMonitor", "PrometheusRule", "Certificate"}


def faults_of_pod(spec):
    """The restricted profile, as far as a pod can break it."""
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares the host's namespaces"
    if spec.get("automountServiceAccountToken", True):
        yield "has a token"
    of_pod = spec.get("securityContext", {})
    volumes = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected", "downwardAPI", "csi", "ephemeral"}
    for volume in spec.get("volumes", []):
        if not volumes & set(volume):
            yield f"has the volume {volume['name']}"
    for container in spec.get("containers", []) + spec.get("initContainers", []):
        own = container.get("securityContext", {})
        for key, value in {"runAsNonRoot": True}.items():
            if own.get(key, of_pod.get(key)) != value:
                yield f"{container['name']}: {key}"
        if own.get("runAsUser", of_pod.get("runAsUser")) == 0:
            yield f"{container['name']}: root"
        if own.get("seccompProfile", of_pod.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{container['name']}: no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{container['name']}: allowPrivilegeEscalation"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']}: a root that can be written"
        capabilities = own.get("capabilities", {})
        if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
            yield f"{container['name']}: capabilities"
        if own.get("privileged") or any("hostPort" in port for port in container.get("ports", [])):
            yield f"{container['name']}: privileged, or a port of the host"


def main(version, files):
    faults = 0
    for file in files:
        with open(file) as text:
            objects = [entry for entry in yaml.safe_load_all(text) if entry]
        for entry in objects:
            name = f"{file}: {entry['kind']} {entry['metadata']['name']}"
            if entry["kind"] not in CUSTOM:
                try:
                    kubernetes_validate.validate(entry, version, strict=True)
                except kubernetes_validate.ValidationError as fault:
                    print(f"{name}: {fault}")
                    faults += 1
            template = entry.get("spec", {}).get("template", {}).get("spec") if isinstance(entry.get("spec"), dict) else None
            for fault in faults_of_pod(template) if template else []:
                print(f"{name}: {fault}")
                faults += 1
        if not objects:
            print(f"{file}: no objects")
            faults += 1
    sys.exit(faults > 0)


warnings.simplefilter("ignore")
main(sys.argv[1], sys.argv[2:])
