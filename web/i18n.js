// The editor's own words, in ComfyUI's language. Words about fields come from the server.

const TRANSLATED = ["zh"]; // the files of locales/, beside English

let words = {};
let english = {};
let current = "en";

export const locale = () => current;

/** Read the words of a language; what it lacks is English. */
export async function loadWords(wanted) {
  english = await read("en");
  const language = wanted.split("-")[0];
  words = TRANSLATED.includes(language) ? ((await read(language)) ?? {}) : {};
  current = language; // so that the server's words are of the same one
}

async function read(name) {
  try {
    const response = await fetch(new URL(`./locales/${name}.json`, import.meta.url));
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** t("bar.knob", {level: "2x"}): the text with {level} filled in. */
export function t(key, values = {}) {
  const text = words[key] ?? english?.[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? String(values[name]) : whole,
  );
}
