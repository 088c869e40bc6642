// The pack's routes (docs/routes.md) as functions. Nothing else of the page talks to the server.

import { api } from "../../scripts/api.js";

/** A refused request; `kind`, `issues` and `current` are the server's. */
class RouteError extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.kind = error.kind;
    this.issues = error.issues ?? [];
    this.current = error.current ?? null;
  }
}

async function ask(method, path, body, signal) {
  const options = { method, signal, cache: "no-store" };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await api.fetchApi(`/psa/${path}`, options);
  const answer = await response.json().catch(() => null);
  if (response.ok && answer) return answer;
  const error = answer?.error ?? {
    kind: "server",
    message: `${response.status} ${response.statusText}`,
  };
  throw new RouteError(response.status, error);
}

const place = (family, preset) =>
  `presets/${encodeURIComponent(family)}/${encodeURIComponent(preset)}`;

function query(parameters) {
  const given = Object.entries(parameters).filter(([, value]) => value != null);
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const getFields = (locale) => ask("GET", `fields${query({ locale })}`);
export const getPresets = () => ask("GET", "presets");
export const getVersion = () => ask("GET", "version");

export const getPreset = (family, preset) => ask("GET", place(family, preset));

export const validate = (request, signal) => ask("POST", "validate", request, signal);
export const estimate = (request, signal) => ask("POST", "estimate", request, signal);
export const plan = (request, signal) => ask("POST", "plan", request, signal);

export const savePreset = (family, preset, content, expected) =>
  ask("PUT", place(family, preset), { ...content, expected });

export const duplicatePreset = (family, preset, to, toFamily) =>
  ask("POST", `${place(family, preset)}/duplicate`, { to, family: toFamily });

export const renamePreset = (family, preset, to, expected) =>
  ask("POST", `${place(family, preset)}/rename`, { to, expected });

export const deletePreset = (family, preset, expected) =>
  ask("DELETE", place(family, preset), { expected });

export const importPresets = (request) => ask("POST", "import", request);

export const exportPresets = (family, preset) => ask("GET", `export${query({ family, preset })}`);

/** Send a request that the server itself described, as `undo` of a deletion. */
export const send = ({ method, path, body }) => ask(method, path.replace(/^\/psa\//, ""), body);

/** Call `listener` whenever the server says that presets changed. */
export function onPresetsChanged(listener) {
  api.addEventListener("psa.presets_changed", listener);
}
