"""What the program is made of, as CycloneDX 1.6."""

import datetime
import hashlib
import json
import re
import subprocess
import tomllib
import uuid

MEDIA_TYPE = "application/vnd.cyclonedx+json"


def of_program(root, target, version, commit, epoch):
    """The crates that are linked into the program, with their licences and checksums as
    Cargo.lock has them; the parts of the system that are linked or copied."""
    tree = cargo(root, "tree", "--edges=normal,no-proc-macro", f"--target={target}", "--prefix=none", "--no-dedupe", "--format={p}")
    linked = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    linked = {(name, number.removeprefix("v")) for name, number in linked}

    lock = tomllib.loads((root / "Cargo.lock").read_text())
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}
    metadata = json.loads(cargo(root, "metadata", "--format-version=1", f"--filter-platform={target}"))
    packages = {package["id"]: package for package in metadata["packages"]}
    key = {id: (package["name"], package["version"]) for id, package in packages.items()}
    own = key[metadata["resolve"]["root"]]

    components, edges = [], {}
    for node in metadata["resolve"]["nodes"]:
        crate = key[node["id"]]
        if crate not in linked:
            continue
        needed = {key[dep["pkg"]] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])}
        edges[reference(*crate)] = sorted(reference(*other) for other in needed & linked)
        if crate != own:
            components.append(component(packages[node["id"]], checksums.get(crate)))
    of_system = list(system_parts())
    edges[reference(*own)] += [part["bom-ref"] for part in of_system]

    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": instant(epoch),
            "component": {
                "type": "application",
                "bom-ref": reference(*own),
                "name": own[0],
                "version": version,
                "purl": reference(*own),
                "licenses": [{"expression": "Apache-2.0"}],
                "properties": [{"name": "quotagate:commit", "value": commit}],
            },
        },
        "components": sorted(components + of_system, key=lambda entry: entry["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": sorted(edges[ref])} for ref in sorted(edges)],
    }
    # Drawn from what it says, so that the same says the same.
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()
    document["serialNumber"] = uuid.UUID(bytes=digest[:16], version=4).urn
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def component(package, checksum):
    entry = {
        "type": "library",
        "bom-ref": reference(package["name"], package["version"]),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(package["name"], package["version"]),
        "scope": "required",
    }
    if package.get("description"):
        entry["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Older manifests separate alternatives by a slash.
        entry["licenses"] = [{"expression": re.sub(r"\s*/\s*", " OR ", package["license"])}]
    if package.get("repository"):
        entry["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return entry


def system_parts():
    """The C library and Rust's, which are linked; the CAs, which are copied."""
    rust = re.search(r"^release: (.*)$", output("rustc", "--version", "--verbose"), re.M)
    if rust:
        ref = f"pkg:generic/rust-std@{rust[1]}"
        yield {"type": "library", "bom-ref": ref, "name": "rust-std", "version": rust[1], "purl": ref, "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    for package in ("libc6-dev", "ca-certificates"):
        version = output("dpkg-query", "--showformat=${Version}", "--show", package)
        if version:
            ref = f"pkg:deb/debian/{package}@{version.replace('+', '%2B')}"
            yield {"type": "library" if package == "libc6-dev" else "data", "bom-ref": ref, "name": package, "version": version, "purl": ref}


def reference(name, version):
    return f"pkg:cargo/{name}@{version.replace('+', '%2B')}"


def instant(epoch):
    return datetime.datetime.fromtimestamp(epoch, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cargo(root, *arguments):
    return subprocess.run(["cargo", *arguments, "--locked"], cwd=root, check=True, capture_output=True, text=True).stdout


def output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""
