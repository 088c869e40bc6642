// Presets as files: in by drop, paste or a file dialog; out to a file or the clipboard.

import * as api from "./api.js";
import { ask, toast } from "./dialog.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { library } from "./library.js";

/** Take text over; asks for what is missing. A promise of the route's answer, or null. */
export async function importText(yaml, fileName = "") {
  await library.listing();
  try {
    return await sent({ yaml }, fileName);
  } catch (error) {
    toast(error.message, { danger: true, seconds: 20 });
    return null;
  }
}

async function sent(request, fileName) {
  try {
    const answer = await api.importPresets(request);
    await library.refresh();
    const notes = answer.notes.map((note) => note.message).join("\n");
    toast(
      [t("import.done", { saved: answer.saved.length, skipped: answer.skipped.length }), notes]
        .filter(Boolean)
        .join("\n"),
    );
    return answer;
  } catch (error) {
    if (error.kind === "name_needed") return named(request, fileName);
    if (error.kind !== "name_taken" || request.replace) throw error;
    const answer = await ask({
      title: t("import.taken"),
      message: error.message,
      choices: [{ id: "replace", label: t("import.replace"), primary: true, danger: true }],
    });
    return answer ? sent({ ...request, replace: true }, fileName) : null;
  }
}

async function named(request, fileName) {
  const families = library.known.families.map((family) => family.name);
  let result = null;
  await ask({
    title: t("import.nameTitle"),
    message: t("import.nameMessage"),
    fields: [
      {
        name: "family",
        label: t("save.family"),
        options: families,
        value: families.find((f) => fileName.startsWith(f)) ?? families[0],
      },
      { name: "preset", label: t("save.name"), value: fileName.replace(/\.ya?ml$/i, "") },
    ],
    choices: [{ id: "save", label: t("save.save"), primary: true }],
    check: async (_choice, { family, preset }) => {
      result = await sent({ ...request, family, preset }, fileName);
      return result ? null : "";
    },
  });
  return result;
}

const isYamlFile = (file) => /\.ya?ml$/i.test(file.name);

/** Let files be dropped on `element`: `take(text, fileName)` for every YAML file. */
export function acceptDrops(element, take) {
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  element.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("psa-drop");
  });
  element.addEventListener("dragleave", (event) => {
    if (!element.contains(event.relatedTarget)) element.classList.remove("psa-drop");
  });
  element.addEventListener("drop", async (event) => {
    element.classList.remove("psa-drop");
    const files = [...(event.dataTransfer?.files ?? [])].filter(isYamlFile);
    if (!files.length) return; // a workflow or an image is ComfyUI's
    event.preventDefault();
    event.stopPropagation();
    for (const file of files) await take(await file.text(), file.name);
  });
}

/** Let the user choose YAML files. */
export function chooseFiles(take) {
  const input = h("input", {
    type: "file",
    accept: ".yaml,.yml",
    multiple: true,
    onchange: async () => {
      for (const file of input.files) await take(await file.text(), file.name);
    },
  });
  input.click();
}

/** Hand the user a text as a file. */
export function saveFile(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/yaml" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export async function exportToFile(family, preset) {
  const { yaml, filename } = await api.exportPresets(family, preset);
  saveFile(yaml, filename);
}

export async function exportToClipboard(family, preset) {
  const { yaml } = await api.exportPresets(family, preset);
  await navigator.clipboard.writeText(yaml);
  toast(t("yaml.copied"));
}
