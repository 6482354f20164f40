"""The hold written in Git, for clusters without policies: a kustomize component, and a claim's lines as plain YAML."""

import json
from itertools import product
from typing import Any, Final

from holdfast.model.admission import reserved
from holdfast.model.claim import ClaimRef
from holdfast.model.intent import OFF
from holdfast.model.request import AUTO, GROUP, KIND

Json = dict[str, Any]

ABOUT: Final = """\
# Holds labelled claims until Holdfast has brought their data back. Name this directory under `components:` of a
# kustomization. Kustomize selects by kind and label as they are written here, and by nothing else, so:
# - a label on the namespace is not seen: label the claims;
# - a claim with another dataSourceRef loses it, and one of volumeMode Block, with a selector or with class "" would
#   wait for ever: keep those in a kustomization without this component;
# - volumeClaimTemplates are not reached, and a class that is held by name needs volumeName: write the lines of
#   `holdfast render snippet` there.
# `holdfast check` on the built manifests finds all of these.
"""


def reference() -> Json:
    """Return the `dataSourceRef` that holds a claim."""
    return {"apiGroup": GROUP, "kind": KIND, "name": AUTO}


def component(label: str) -> Json:
    """Return the kustomize component."""
    claims = {"kind": "PersistentVolumeClaim", "labelSelector": f"{label},{label} notin ({','.join(_spellings())})"}
    patch = [{"op": "add", "path": "/spec/dataSourceRef", "value": reference()}]
    return {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "patches": [{"target": claims, "patch": json.dumps(patch)}],
    }


def snippet(claim: ClaimRef | None) -> Json:
    """Return a claim's own lines; `claim` for a class that is held by name."""
    if claim is None:
        return {"spec": {"dataSourceRef": reference()}}
    return {"spec": {"volumeName": reserved(claim.namespace, claim.name)}}


def _spellings() -> list[str]:
    """A label selector knows no case: `off` is off in the spellings that people use."""
    return sorted(spell(word) for word, spell in product(OFF, (str.lower, str.capitalize, str.upper)))
