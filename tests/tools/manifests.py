"""Looks at manifests of the Helm chart: whether Kubernetes would take each, and whether they speak of the same things.

    manifests.py MANIFESTS SETTINGS [VERSION...]

MANIFESTS is what `helm template` printed. The settings file in it is written to SETTINGS. Each VERSION is one of Kubernetes',
whose schemas are asked.
All that is wrong is printed, and the exit status is then 1.
"""

import pathlib
import sys
import tomllib

import jsonschema
import yaml

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "array", "items": TEXT, "minItems": 1}


def only(properties, required):
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def custom(api, kind, spec):
    metadata = {"type": "object", "required": ["name"]}
    keys = {"apiVersion": {"const": api}, "kind": {"const": kind}, "metadata": metadata, "spec": spec}
    return only(keys, list(keys))


# What the definitions of these resources say of the fields that the chart writes: ExternalDNS's and the Prometheus
# operator's are not among Kubernetes' own.
CUSTOM = {
    "DNSEndpoint": custom(
        "externaldns.k8s.io/v1alpha1",
        "DNSEndpoint",
        only(
            {
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": only(
                        {
                            "dnsName": TEXT,
                            "recordType": {"enum": ["A", "AAAA"]},
                            "recordTTL": {"type": "integer", "minimum": 1},
                            "setIdentifier": TEXT,
                            "targets": TEXTS,
                            "providerSpecific": {
                                "type": "array",
                                "items": only({"name": TEXT, "value": {"type": "string"}}, ["name", "value"]),
                            },
                        },
                        ["dnsName", "recordType", "recordTTL", "targets"],
                    ),
                }
            },
            ["endpoints"],
        ),
    ),
    "ServiceMonitor": custom(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        only(
            {
                "selector": only({"matchLabels": {"type": "object"}}, ["matchLabels"]),
                "endpoints": {
                    "type": "array",
                    "minItems": 1,
                    "items": only(
                        {
                            "port": TEXT,
                            "path": {"const": "/metrics"},
                            "interval": TEXT,
                            "scrapeTimeout": TEXT,
                            "relabelings": {"type": "array"},
                            "metricRelabelings": {"type": "array"},
                        },
                        ["port"],
                    ),
                },
            },
            ["selector", "endpoints"],
        ),
    ),
}


def main(manifests, settings, versions):
    documents = [document for document in yaml.safe_load_all(manifests.read_text()) if document]
    wrong = [line for document in documents for line in against_schema(document, versions)]
    (text,) = (it["data"]["slotway.toml"] for it in documents if it["kind"] == "ConfigMap")
    settings.write_text(text)
    wrong += together(documents, tomllib.loads(text))
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def against_schema(document, versions):
    name = f"{document['kind']} {document['metadata']['name']}"
    if document["kind"] in CUSTOM:
        for error in jsonschema.Draft7Validator(CUSTOM[document["kind"]]).iter_errors(document):
            yield f"{name}: {error.message}"
        return
    if not versions:
        return
    import kubernetes_validate  # Takes as long as all the rest.

    for version in versions:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except Exception as error:
            yield f"{name}: {version}: {error}"


def together(documents, settings):
    """What each manifest says of another one."""
    of = lambda kind: [it for it in documents if it["kind"] == kind]
    names = [(it["kind"], it["metadata"]["name"]) for it in documents]
    if len(set(names)) != len(names):
        yield f"a name twice: {names}"
    deployment, *follower = sorted(of("Deployment"), key=lambda it: len(it["metadata"]["name"]))
    template = deployment["spec"]["template"]
    labels, pod = template["metadata"]["labels"], template["spec"]
    (container,) = pod["containers"]
    ports = {it["name"]: it["containerPort"] for it in container["ports"]}

    yield from followers(documents, follower, labels)
    for what, selector in selectors(it for it in documents if it not in follower):
        if not selector.items() <= labels.items():
            yield f"{what}: selects {selector}, pods are {labels}"
    for service in of("Service"):
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"Service {service['metadata']['name']}: no port {port['targetPort']}"
    for policy in of("NetworkPolicy"):
        let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        if let_in != ports.keys():
            yield f"NetworkPolicy: {let_in} are let in, ports are {ports}"
    is_entry = lambda service: service["metadata"]["labels"].get("app.kubernetes.io/component") == "entry"
    entries = [it for it in of("Service") if is_entry(it)]
    if not entries or {it["spec"].get("type") for it in entries} != {"LoadBalancer"}:
        yield "no entries, or one that is no LoadBalancer"
    outside = {port["port"] for service in entries for port in service["spec"]["ports"]}
    if len(outside) != 1:
        yield f"entries have different ports: {outside}"
    for monitor in of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [it for it in of("Service") if wanted <= it["metadata"]["labels"].items()]
        offered = [{port["name"] for port in it["spec"]["ports"]} for it in chosen]
        if [{"admin"} <= names for names in offered] != [True]:
            yield f"ServiceMonitor: it selects {len(chosen)} Services"

    volumes = {it["name"] for it in pod["volumes"]}
    mounts = {it["name"] for it in container["volumeMounts"]}
    if volumes != mounts:
        yield f"volumes are {volumes}, mounts are {mounts}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if container[probe]["httpGet"]["port"] not in ports:
            yield f"{probe}: no such port"
    listened = listened_ports(settings)
    if listened != set(ports.values()):
        yield f"settings listen at {sorted(listened)}, the pod's ports are {ports}"
    fleet = settings.get("fleet")
    if fleet and outside != {fleet["port"]}:
        yield f"the entries' port is {fleet['port']} in the settings and {outside} outside"
    if "hostname" in pod or pod["automountServiceAccountToken"] or not pod["securityContext"]["runAsNonRoot"]:
        yield "the pod may do too much"
    ending = [int(settings[key].removesuffix("s")) for key in ("leave_delay", "grace_period")]
    if pod["terminationGracePeriodSeconds"] <= sum(ending):
        yield "the pod is killed before its time"


def followers(documents, deployments, proxies):
    """What is asked of the pod that applies the DNSEndpoint."""
    for deployment in deployments:
        template = deployment["spec"]["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        if deployment["spec"]["selector"]["matchLabels"] != labels or proxies.items() <= labels.items():
            yield f"the follower's labels are {labels}"
        volumes = {it["name"] for it in pod["volumes"]}
        mounts = [{it["name"] for it in container["volumeMounts"]} for container in pod["containers"]]
        if volumes != mounts[0] | mounts[1] or "token" in mounts[0]:
            yield f"the follower's volumes are {volumes}, mounts are {mounts}"
        name = pod["serviceAccountName"]
        accounts = [it["metadata"]["name"] for it in documents if it["kind"] == "ServiceAccount"]
        bound = [(it["subjects"][0]["name"], it["roleRef"]["name"]) for it in documents if it["kind"] == "RoleBinding"]
        roles = [it["metadata"]["name"] for it in documents if it["kind"] == "Role"]
        if name not in accounts or bound != [(name, name)] or roles != [name]:
            yield f"the follower's account is {name}, there are {accounts}, {bound}, {roles}"


def selectors(documents):
    for document in documents:
        kind, spec = document["kind"], document.get("spec", {})
        if kind == "Service":
            yield f"Service {document['metadata']['name']}", spec["selector"]
        elif kind in ("Deployment", "PodDisruptionBudget"):
            yield kind, spec["selector"]["matchLabels"]
        elif kind == "NetworkPolicy":
            yield kind, spec["podSelector"]["matchLabels"]
        if kind == "Deployment":
            for spread in spec["template"]["spec"]["topologySpreadConstraints"]:
                yield "topologySpreadConstraints", spread["labelSelector"]["matchLabels"]


def listened_ports(settings):
    addresses = [settings["admin"]]
    entries, tenants = settings.get("fleet", {}).get("entries", []), settings.get("tenants", [])
    responder = settings.get("fleet", {}).get("responder", {})
    for section in (settings, settings.get("tls", {}), responder, *entries, *tenants):
        if section.get("listen", "off") != "off":
            addresses += section["listen"]
    return {int(address.rpartition(":")[2]) for address in addresses}


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]))
