#!/usr/bin/env bash
# Layers look down only, imports name the layer, and no two files of src/switch, src/alloc/slab or
# src/page_map import each other, directly or by way of others. Tests and comments aside.
set -euo pipefail
cd "$(dirname "$0")/.."

python3 - <<'PYTHON'
import re, subprocess, sys

# From the bottom up; each imports from those before it.
LAYERS = ["error", "layout", "size", "ptr", "list", "sys+sync", "misuse", "page_map", "source", "alloc", "unwind",
          "adapt", "collections", "switch", "testing"]
rank = {name: at for at, names in enumerate(LAYERS) for name in names.split("+")}
FOLDERS = ["src/switch", "src/alloc/slab", "src/page_map"]

files = [f for f in subprocess.check_output(["git", "ls-files", "src"], text=True).split() if f.endswith(".rs")]
files = [f for f in files if f != "src/lib.rs" and not re.search(r"(^|[/_])(tests?|check)\.rs$|_tests\.rs$|_check\.rs$|macros\.rs$", f)]
faults = []

def code(file):
    text = open(file).read()
    text = re.split(r"#\[cfg\((?:all\(test|test\b)[^\]]*\)\]\n(?:#\[path[^\]]*\]\n)?(?:pub\(crate\) )?mod ", text)[0]
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("//"))

def module(file):
    path = file[len("src/"):-len(".rs")].split("/")
    return path[:-1] if path[-1] == "mod" else path

by_module = {tuple(module(f)): f for f in files}
imports = {f: set() for f in files}
for file in files:
    here, text = module(file), code(file)
    layer = here[0]
    if layer not in rank:
        faults.append(f"{file}: no layer")
        continue
    for match in re.finditer(r"(?<![\w$])crate::(\w+)", text):
        name = match.group(1)
        if name in rank and rank[name] > rank[layer]:
            faults.append(f"{file}: looks up at {name}")
        if re.match(r"[A-Z]", name) and not text[match.end():].lstrip().startswith("!"):
            faults.append(f"{file}: imports crate::{name} by way of the root")
    for match in re.finditer(r"\b((?:super::)+)(\w+)", text):
        up = match.group(1).count("super::")
        base = here[:len(here) - up]
        for target in (base + [match.group(2)], base):
            found = by_module.get(tuple(target))
            if found and found != file:
                imports[file].add(found)
                break

for folder in FOLDERS:
    inside = [f for f in files if f.startswith(folder + "/") and not (f.count("/") == folder.count("/") + 1 and f.endswith("/mod.rs"))]
    def reaches(start, seen):
        for next_file in imports[start]:
            if next_file in inside and next_file not in seen:
                seen.add(next_file)
                reaches(next_file, seen)
        return seen
    for file in inside:
        if file in reaches(file, set()):
            faults.append(f"{file}: is in a circle of imports")

print("\n".join(sorted(set(faults))))
sys.exit(bool(faults))
PYTHON
