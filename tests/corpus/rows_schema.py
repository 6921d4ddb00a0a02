"""Rows SCH: YAML of another shape than the language's."""

from tests.corpus.table import case, recipe, told, toy, write

REST = "version: 1\nname: toy\nmodel: {type: pretrained, id: a/b}\nsampling: {prompts: [x]}\n"
STEPS = r"yaml:\d+:\d+: training.max_train_steps must be a whole number >= 1 or null \(got "


def kept(row, what, content, says):
    """Enters a recipe that is right, with what `recipe show` makes of it."""

    @case(row, what, exits=0, says=says)
    def _(folder):
        return recipe("show", write(content))


for word, mend in {"yes": "true", "on": "true", "Y": "true", "no": "false", "Off": "false", "n": "false"}.items():
    says = rf"yaml:5:36: data.random_flip must be .*: '{word}' is text in YAML 1.2: write {mend}"
    told("SCH02", f"{word} for a boolean", f"{REST}data: {{type: builtin, random_flip: {word}}}\n", says)
    kept("SCH02", f"{word} for text", f"{REST}description: {word}\n", f'\ndescription: "{word}"\n')

told("SCH03", "16:9 for a number", f"{REST}seed: 16:9\n", r"yaml:5:7: seed must be a whole number >= 0 \(got '16:9'\)")
for text in ("16:9", "1:1", "512:512", "1:30:00", "-1:30.5"):
    kept("SCH03", f"{text} for text", f"{REST}description: {text}\n", f'\ndescription: "{text}"\n')

told("SCH05", "seed: true", toy(seed=True), r"seed must be a whole number >= 0 \(got true\)")
told("SCH05", "seed: -1", toy(seed=-1), r"seed must be a whole number >= 0 \(got -1\)")
for steps in (5.5, -1, 0, True, -0.0):
    told("SCH05", f"steps: {steps}", toy(training={"max_train_steps": steps}), STEPS + str(steps).lower())
kept("SCH05", "steps: 5.0", toy(training={"max_train_steps": 5.0}), "max_train_steps: 5\n")

for text in (".nan", ".inf", "-.Inf", "1e999", "-1e999", "9" * 500):
    says = r"yaml:5:31: training.learning_rate must be a finite number \(got "
    told("SCH06", text[:9], f"{REST}training: {{learning_rate:     {text}}}\n", says)

for key, places in {
    "learning_rate": "under 'training:'",
    "batch_size": "under 'training:' or under 'sampling:'",
    "resolution": "under 'data:'",
    "prompts": "under 'sampling:'",
    "mixed_precision": "under 'compute:'",
}.items():
    told("SCH08", f"{key} at the top", f"{REST}{key}: 1\n", rf"yaml:5:1: unknown key '{key}': it belongs {places}")
told(
    "SCH08",
    "in another section",
    toy(data={"learning_rate": 1}),
    "'learning_rate' in data: it belongs under 'training:'",
)
told("SCH08", "too deep", toy(compute={"seed": 1}), "'seed' in compute: it belongs at the top, not indented")
told(
    "SCH08",
    "in a group",
    toy(training={"ema": {"batch_size": 1}}),
    "'batch_size' in training.ema: it belongs under 'training:'",
)
told(
    "SCH08",
    "in a group, of the top",
    toy(training={"ema": {"name": 1}}),
    "'name' in training.ema: it belongs at the top",
)
told("SCH08", "a peer's name at the top", f"{REST}lr: 1\n", "unknown key 'lr': did you mean training.learning_rate")

for key in ("1", "2024-01-01", "null", "true", ".nan", "0x1F"):
    says = f'keys must be text: write "{key}" in quotes' if key != "2024-01-01" else f"unknown key '{key}'"
    told("SCH09", f"{key} in a section", f"{REST}data: {{type: builtin, {key}: 1}}\n", says)

told("SCH11", "a text of 10 MB", REST.replace("[x]", f"[{'x' * 10**7}]"), "recipe has 9.5 MiB; 256 KiB is the most")
told(
    "SCH11",
    "a list of 10^6 prompts",
    REST.replace("[x]", f"[{'x,' * 10**6}]"),
    "recipe has 1.9 MiB; 256 KiB is the most",
)
told("SCH11", "as many prompts as fit", REST.replace("[x]", f"[{'x,' * 10**5}]"), "more than 20000 keys and values")
told(
    "SCH11",
    "a prompt as long as fits",
    REST.replace("[x]", f"[{'x' * 10**5}]"),
    r"at most 20000 characters \(has 100000\)",
)

told("SCH11", "'${' 100,000 times", f"{REST}description: {'${' * 10**5}\n", r"at most 1000 characters \(has 200000\)")

NEWER = "the recipe is written in version {} of the language; this program knows version 1: update it"
for version in ("2", "99", "1.4"):
    told("SCH12", f"version {version}", REST.replace(": 1", f": {version}", 1) + "xyzzy: 1\n", NEWER.format(version))
told("SCH12", "version 2.0", REST.replace(": 1", ": 2.0", 1), NEWER.format(2))
told("SCH12", "missing", REST.replace("version: 1\n", ""), "missing key 'version': write 'version: 1'")
told("SCH12", "nothing", REST.replace(": 1", ":", 1), r"version must be 1 \(got nothing\)")
told("SCH12", "zero", REST.replace(": 1", ": 0", 1), r"version must be 1 \(got 0\)")
told("SCH12", "a boolean", REST.replace(": 1", ": true", 1), r"version must be 1 \(got true\)")
told("SCH12", "in quotes", REST.replace(": 1", ": '1'", 1), r"version must be 1 \(got '1'\): remove the quotes")
told("SCH12", "a list", REST.replace(": 1", ": [1]", 1), r"version must be 1 \(got a list\)")
