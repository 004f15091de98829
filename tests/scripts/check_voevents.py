"""Validates VOEvents with the IVOA's schema, which comet carries: check_voevents.py FILE…"""

import importlib.resources
import sys

import xmlschema
from comet.utility import parse_ivoid

schema = xmlschema.XMLSchema(str(importlib.resources.files("comet") / "schema" / "VOEvent-v2.0.xsd"))
wrong = 0
for path in sys.argv[1:]:
    for error in schema.iter_errors(path):
        wrong += 1
        print(f"{path}: {error.path}: {error.reason}")
    ivorn = xmlschema.XMLResource(path).root.get("ivorn")
    authority, resource, local = parse_ivoid(ivorn)
    if not (authority and resource and local):
        wrong += 1
        print(f"{path}: expected `ivo://authority/resource#local`, found `{ivorn}`")
print(f"{len(sys.argv) - 1} documents, {wrong} problems")
sys.exit(wrong > 0)
